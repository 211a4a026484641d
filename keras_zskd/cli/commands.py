"""The commands, each with its job, a line of help, and the display of its result."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_zskd.core.tables import forms_table, pairs_table, run_summary, similarity_table
from keras_zskd.jobs.benchmarking import Benchmarked, benchmark
from keras_zskd.jobs.demonstrating import demonstrate
from keras_zskd.jobs.distilling import Distilled, distill
from keras_zskd.jobs.estimating import estimate
from keras_zskd.jobs.exporting import export_file
from keras_zskd.jobs.inspecting import inspect, methods
from keras_zskd.jobs.measuring import measure
from keras_zskd.jobs.quantizing import Quantized, quantize
from keras_zskd.jobs.recording import record
from keras_zskd.jobs.synthesizing import synthesize
from keras_zskd.jobs.training import train


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        job: The function that does the work.
        summary: A line for `keras-zskd help`.
        show: Function from the job's result to the text that is printed at the end.
        as_json: Function from the job's result to the data that `--json` writes.
        note: Text that is printed before the job starts.
        rehearsal: The function that `--dry_run` calls instead, with the same arguments.
        incomplete: Function from the job's result to a sentence about what is missing, with which
            the command fails after it has shown the result, or to None if nothing is missing.
        resumes: Whether the same command continues after an interruption.
    """

    job: Callable[..., Any]
    summary: str
    show: Callable[[Any], str] = pairs_table
    as_json: Callable[[Any], Any] = dict
    note: str = ""
    rehearsal: Callable[..., Any] | None = None
    incomplete: Callable[[Any], str | None] = lambda result: None
    resumes: bool = False


def _show_run(done: Distilled) -> str:
    return run_summary(done.record, str(done.directory))


def _record(done: Distilled) -> dict[str, Any]:
    return done.record


def _show_forms(done: Quantized) -> str:
    return "\n" + forms_table(done.rows, done.measured_on, str(done.directory))


def _show_inspection(found: dict[str, Any]) -> str:
    facts = {name: value for name, value in found.items() if name != "class_similarity"}
    shown = pairs_table(facts)
    if "class_similarity" in found:
        shown += f"\n\n{similarity_table(found['class_similarity'])}"
    return shown


def _show_benchmark(done: Benchmarked) -> str:
    return "\n".join([done.table, "", *(f"Figure: {path}" for path in done.figures)])


def _incomplete_benchmark(done: Benchmarked) -> str | None:
    if not done.missing:
        return None
    fix = "Run the command without --table to make them."
    if done.failures:
        reasons = [f"{run} ({reason.rstrip('.')})" for run, reason in done.failures.items()]
        fix = f"Failed: {', '.join(reasons)}. Run the same command to try these again."
    return (
        f"`--output_dir` must hold results of every row. Received: {str(done.directory)!r} without "
        f"{', '.join(done.missing)}. {fix}"
    )


def _benchmark_as_json(done: Benchmarked) -> dict[str, Any]:
    return {"results": done.results, "missing": done.missing, "failures": done.failures}


def _show_methods(found: dict[str, dict[str, str]]) -> str:
    lines = []
    for name, facts in found.items():
        lines.append(f"{name}: {facts['result']}")
        lines += [f"  {key:<10} {value}" for key, value in facts.items() if key != "result"]
    return "\n".join(lines)


COMMANDS = {
    "demo": Command(
        demonstrate,
        "distill the teacher that ships with the package",
        _show_run,
        _record,
        "The teacher is LeNet-5, trained on MNIST and included in this package. Its training data "
        "is not included; the student learns from the teacher alone.\n"
        "Afterwards both are evaluated on 5,000 real digits that neither has seen.",
        resumes=True,
    ),
    "distill": Command(
        distill,
        "distill a teacher into a deployable student",
        _show_run,
        _record,
        rehearsal=estimate,
        resumes=True,
    ),
    "quantize": Command(
        quantize,
        "quantize a teacher as it is, without its data",
        _show_forms,
        dataclasses.asdict,
        resumes=True,
    ),
    "synthesize": Command(synthesize, "make impressions", resumes=True),
    "evaluate": Command(measure, "measure a student against its teacher"),
    "records": Command(record, "record a teacher's activations on its training data"),
    "export": Command(export_file, "export a model to a deployment format"),
    "inspect": Command(
        inspect,
        "describe a teacher and what can be done with it",
        _show_inspection,
        note="Trying all formats, and measuring the pace of a distillation. This takes about half a "
        "minute for a small teacher.",
    ),
    "methods": Command(
        methods, "list all methods with needs, results and references", _show_methods
    ),
    "train": Command(train, "train a teacher, or a student from scratch", resumes=True),
    "benchmark": Command(
        benchmark,
        "compare methods on one teacher at an equal budget",
        _show_benchmark,
        _benchmark_as_json,
        incomplete=_incomplete_benchmark,
        resumes=True,
    ),
}
