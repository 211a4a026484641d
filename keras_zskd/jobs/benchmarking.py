"""`benchmark`: run the systems of a suite on one teacher at an equal budget, and compare them."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_zskd.benchmark.charts import draw_all
from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.suite import Row, Suite
from keras_zskd.benchmark.suites import SUITES
from keras_zskd.benchmark.table import missing, tables
from keras_zskd.core import progress
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.files import write_whole
from keras_zskd.core.workers import Cluster
from keras_zskd.methods import get_method


@dataclasses.dataclass(frozen=True)
class Benchmarked:
    """The result of `benchmark`.

    Attributes:
        table: The tables of the selected rows in Markdown.
        results: The contents of their results files.
        missing: Selected rows without results, with their seeds.
        failures: The reason for each run that failed in this call, by row and seed.
        figures: Files of the figures.
        directory: The output directory.
    """

    table: str
    results: list[dict[str, Any]]
    missing: list[str]
    failures: dict[str, str]
    figures: list[pathlib.Path]
    directory: pathlib.Path


def benchmark(
    suite: str | Suite,
    output_dir: str | os.PathLike[str],
    methods: str | Sequence[str] = "",
    seeds: int = 3,
    table: bool = False,
    budget: float | None = None,
    data_dir: str | None = None,
    cluster: Cluster | None = None,
) -> Benchmarked:
    """Compare methods on one teacher, with the same student and an equal budget.

    The teachers of the suite are trained once. Then each row runs once per seed in its own process,
    with its counts scaled so that the cost equals the budget, and writes a results file. The same
    call resumes an interrupted benchmark: finished runs are not repeated. Tables and figures are
    made from the results files. Test data is only used for evaluation.

    Args:
        suite: mnist, fashion_mnist, cifar10 or mnist_curve; in Python also a `Suite`.
        output_dir: Directory of teachers, results files, tables and figures.
        methods: Names of methods or of rows, separated by commas. Defaults to all rows of the suite.
        seeds: Maximum number of seeds of a row, 1 or more; a suite has fewer for some.
        table: Only make tables and figures from the existing results; nothing is run.
        budget: Cost of a run in forward passes of the teacher. Defaults to that of the suite. All
            results in a directory have the same budget.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        cluster: Workers on a Ray cluster, each of which does one run after the other; see `Cluster`.
            They read and write `output_dir`. Defaults to one run at a time on this machine.

    Returns:
        The tables, the results, and what is missing.

    Raises:
        InputError: If an argument is invalid, or a teacher cannot be trained.
    """
    suite = _suite(suite)
    if seeds < 1:
        raise invalid("seeds", "be 1 or more", seeds)
    if budget is not None and not budget > 0:
        raise invalid("budget", "be positive", budget)
    rows = _selected(suite, methods)
    results = Results(output_dir, suite)
    failures: dict[str, str] = {}
    if not table:
        budget = suite.budget if budget is None else float(budget)
        results.check_budget(budget)
        _train_teachers(results, rows, data_dir)
        failures = _run_all(results, rows, seeds, budget, data_dir, cluster)
    figures = []
    if any(True for _ in results):
        most = max(row.seeds for row in suite.rows)
        write_whole(
            results.directory / f"{suite.name}.md", tables(results, suite.rows, most) + "\n"
        )
        figures = draw_all(results, suite.rows, most)
    return Benchmarked(
        tables(results, rows, seeds),
        [found for row in rows for found in results.of(row, seeds)],
        missing(results, rows, seeds),
        failures,
        figures,
        results.directory,
    )


def _suite(suite: str | Suite) -> Suite:
    if isinstance(suite, Suite):
        return suite
    if suite not in SUITES:
        raise invalid("suite", f"be one of {', '.join(SUITES)}", suite)
    return SUITES[suite]


def _selected(suite: Suite, methods: str | Sequence[str]) -> list[Row]:
    """The rows of the given names, in the order of the suite."""
    names = [n for n in methods.split(",") if n] if isinstance(methods, str) else list(methods)
    if not names:
        return list(suite.rows)

    def names_of(row: Row) -> tuple[str, ...]:
        return row.name, row.name.split("-")[0], row.method

    known = dict.fromkeys(name for row in suite.rows for name in names_of(row) if ":" not in name)
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"`methods` must be among {', '.join(known)} for suite {suite.name!r}. Received: "
            f"{', '.join(unknown)}."
        )
    return [row for row in suite.rows if set(names) & set(names_of(row))]


def _train_teachers(results: Results, rows: Sequence[Row], data_dir: str | None) -> None:
    suite = results.suite
    for architecture in dict.fromkeys(suite.pairs[row.pair].teacher for row in rows):
        path = results.teacher_path(architecture)
        if path.exists():
            continue
        progress.show(f"training the teacher, {architecture}", 0.0, {})
        job = {
            "architecture": architecture,
            "dataset": suite.dataset,
            "output": str(path),
            "data_dir": data_dir,
            **suite.teachers[architecture],
        }
        if (failure := _in_process(job, path.with_suffix(".log"))) is not None:
            raise InputError(
                f"The teacher {architecture!r} must be trained first. Received: {failure}"
            )


def _run_all(
    results: Results,
    rows: Sequence[Row],
    seeds: int,
    budget: float,
    data_dir: str | None,
    cluster: Cluster | None,
) -> dict[str, str]:
    """Run the rows that have no results, seed by seed, the most important rows first."""
    suite = results.suite
    wanted = [
        (row.name, seed)
        for seed in range(seeds)
        for row in sorted(rows, key=lambda row: row.tier)
        if seed < row.seeds and results.read(row.name, seed) is None
    ]
    shared = {
        "suite": suite.as_json(),
        "output_dir": os.path.abspath(results.directory),
        "budget": budget,
        "data_dir": data_dir,
    }
    failures: dict[str, str] = {}
    begun = time.monotonic()
    done: Iterable[tuple[tuple[str, int], str | None]]
    if cluster is None:
        do = Runner(results, shared, seeds)
        done = ((task, do(task)) for task in wanted)
    else:
        given = (results, shared, seeds, cluster.cpus_per_worker)
        done = cluster.map(Runner, given, wanted, lambda task: f"{suite.name} {task[0]} {task[1]}")
    for number, ((name, seed), failure) in enumerate(done, 1):
        what = f"{name}, seed {seed}"
        seconds = time.monotonic() - begun
        found = results.read(name, seed)
        if failure is None and found is not None:
            text = f"{100 * found['accuracy']['last']:.2f} %"
        else:
            failures[what] = failure or "It wrote no results."
            text = f"failed: {failures[what]}"
        left = seconds / number * (len(wanted) - number) / 60.0
        progress.show(
            f"{number}/{len(wanted)} {what}: {text} - about {left:.0f} minutes left", seconds, {}
        )
    return failures


class Runner:
    """Runs rows one after the other, each in its own process.

    Args:
        results: The results of the benchmark.
        shared: Arguments that all runs have in common; see `keras_zskd.jobs.running`.
        seeds: Number of seeds, for the command in the results.
        num_threads: Threads of TensorFlow in a run. Defaults to one per core of the machine.
    """

    def __init__(
        self,
        results: Results,
        shared: Mapping[str, Any],
        seeds: int,
        num_threads: int | None = None,
    ):
        self._results, self._shared, self._seeds = results, shared, seeds
        names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        self._environment = dict.fromkeys(names, str(num_threads)) if num_threads else {}

    def __call__(self, task: tuple[str, int]) -> str | None:
        """Run a row, given by its name, for a seed; return why it failed, or None."""
        name, seed = task
        suite = self._results.suite
        try:
            get_method(suite.row(name).method)
        except InputError as error:  # Not installed.
            return str(error)
        command = (
            f"keras-zskd benchmark --suite={suite.name} --methods={name} --seeds={self._seeds}"
        )
        job = {
            **self._shared,
            "name": name,
            "seed": seed,
            "command": f"{command} --budget={self._shared['budget']:g}",
        }
        log = self._results.run_path(name, seed).with_suffix(".log")
        return _in_process(job, log, self._environment)


def _in_process(
    job: Mapping[str, Any], log: pathlib.Path, environment: Mapping[str, str] | None = None
) -> str | None:
    """Run a job of `keras_zskd.jobs.running` in a new process; return why it failed, or None.

    Args:
        job: See `keras_zskd.jobs.running`.
        log: File for the messages of a failed process.
        environment: Additional environment variables.
    """
    done = subprocess.run(
        [sys.executable, "-m", "keras_zskd.jobs.running"],
        input=json.dumps(job),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = [line.rstrip() for line in done.stderr.splitlines() if line.strip()]
    if done.returncode == 2 and lines:
        return lines[-1]
    write_whole(log, done.stderr)
    last = lines[-1] if lines else "no message"
    return f"exit code {done.returncode}: {last[:300]} The messages are in {str(log)!r}."
