"""`run_row`: one row of a benchmark for one seed; `python -m` runs it in its own process."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd import models
from keras_zskd.benchmark.accuracy_watch import ACCURACY, SECONDS, AccuracyWatch
from keras_zskd.benchmark.budget import sized
from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.suite import Pair, Row, Suite
from keras_zskd.core.errors import InputError
from keras_zskd.core.files import replacing
from keras_zskd.core.machine import hardware, peak_memory, versions
from keras_zskd.distillation.student_check import check_student
from keras_zskd.evaluation.impression_measures import effective_rank, nearest_distances
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.inputs import datasets
from keras_zskd.jobs.estimating import check_needs
from keras_zskd.jobs.recording import record
from keras_zskd.jobs.training import train
from keras_zskd.methods import get_method
from keras_zskd.methods.method import Method
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Records
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.tally import StageCost, Tally, parts_of
from keras_zskd.runs.trained import Trained

_INPUT_RANGE = (0.0, 1.0)
_COMPARED = 1_000
_MOST_POINTS = 100
# More images than any source in memory holds.
_ALL = 10**9


@dataclasses.dataclass(frozen=True)
class _ReadOnce(Resources):
    """Resources that read the training data once, to choose the sizes and to train."""

    held: dict[str, Any] = dataclasses.field(default_factory=dict)

    def training_data(self, teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
        if "data" not in self.held:
            self.held["data"] = super().training_data(teacher)
        return tuple(self.held["data"])


def run_row(
    suite: Suite,
    name: str,
    seed: int,
    output_dir: str | os.PathLike[str],
    budget: float,
    data_dir: str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train and evaluate one row of a suite for one seed, and write its results file.

    The same call resumes an interrupted run. The run directory is removed at the end.

    Args:
        suite: The suite. Its teacher must exist in `output_dir`.
        name: Name of the row.
        seed: Seed of student and method.
        output_dir: Directory of the results.
        budget: Cost in forward passes of the teacher; see `Tally`.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        command: The command that makes the results, for the file.

    Returns:
        The contents of the results file.

    Raises:
        InputError: If the method or what it needs is missing.
    """
    row, results = suite.row(name), Results(output_dir, suite)
    pair = suite.pairs[row.pair]
    teacher = Teacher(results.teacher_path(pair.teacher), _INPUT_RANGE)
    method = get_method(row.method).preset(row.preset, **row.settings)
    records = _records(method, teacher, results.teacher_path(pair.teacher), suite.dataset, data_dir)
    resources = _ReadOnce(row.data or None, data_dir, records)
    check_needs(method, teacher, resources)
    images, labels = datasets.load(
        suite.dataset, "test", teacher.input_shape, teacher.input_range, data_dir
    )
    student = _new_student(teacher, pair, row, seed)
    with Tally(teacher, student, seed, resources) as tally:
        method, costs = sized(method, budget, tally, row.counts)
    config = {"name": row.method, "config": method.get_config()}
    watch = AccuracyWatch(images, labels)
    directory = results.run_path(name, seed)
    with Run(teacher, student, config, directory, seed, resources, [watch], 0) as run:
        trained = method.train(run)
        stages = run.record.run["stages"]
    measured = evaluate(teacher, trained.student, images, labels)
    accuracies = [value for stage in stages.values() for value in _history(stage, ACCURACY)]
    accuracies.append(measured["student_accuracy"])
    of_stages = _of_stages(stages, costs)
    found = {
        "suite": suite.name,
        "row": name,
        "seed": seed,
        "method": config,
        "pair": pair.title,
        "start": row.start,
        "parameters": {
            "teacher": teacher.num_parameters,
            "student": trained.student.count_params(),
        },
        "accuracy": {
            "teacher": measured["teacher_accuracy"],
            "last": accuracies[-1],
            "best": max(accuracies),
            "last_fifth": float(np.mean(accuracies[-math.ceil(len(accuracies) / 5) :])),
        },
        "agreement": measured["agreement"],
        "predictive_kl": measured["predictive_kl"],
        "ece": measured["student_ece"],
        "teacher_ece": measured["teacher_ece"],
        "inputs": _num_inputs(trained, costs),
        "diversity": _diversity(trained.inputs.images(_COMPARED), teacher),
        "budget": budget,
        "forwards": sum(cost.forwards for cost in costs),
        "seconds": round(sum(stage["seconds"] for stage in of_stages), 1),
        "stages": of_stages,
        "curve": _curve(stages, costs),
        "measured_on": f"{suite.dataset} (test, {len(images)} images)",
        "peak_memory": peak_memory(),
        "hardware": hardware(),
        "versions": versions(),
        "command": command,
    }
    results.write(name, seed, found)
    shutil.rmtree(directory)
    return found


def _records(
    method: Method, teacher: Teacher, path: pathlib.Path, dataset: str, data_dir: str | None
) -> pathlib.Path | None:
    """The teacher's activation records, written once next to it, if the method needs them."""
    if not any(isinstance(need, Records) for need in method.needs):
        return None
    path = path.with_name(f"{path.stem}-records.npz")
    if not path.exists():
        with replacing(path) as temporary:
            record(teacher, dataset, temporary, data_dir)
    return path


def _new_student(teacher: Teacher, pair: Pair, row: Row, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    if not isinstance(pair.student, str):
        return models.slim(teacher.original, pair.student, row.start)
    student = models.ARCHITECTURES[pair.student](num_classes=teacher.num_classes)
    check_student(teacher, student)
    return models.start_from(teacher.original, student) if row.start == "teacher" else student


def _history(stage: Mapping[str, Any], name: str) -> list[float]:
    return list(stage.get("history", {}).get(name, ()))


def _of_stages(
    stages: Mapping[str, Mapping[str, Any]], costs: Sequence[StageCost]
) -> list[dict[str, Any]]:
    """Cost and time of each stage, without the time for evaluation on test data."""
    forwards = {cost.name: cost.forwards for cost in costs}
    return [
        {
            "name": name,
            "kind": stage["kind"],
            "forwards": forwards.get(name, 0.0),
            "seconds": round(stage["seconds"] - sum(_history(stage, SECONDS)), 2),
        }
        for name, stage in stages.items()
    ]


def _curve(
    stages: Mapping[str, Mapping[str, Any]], costs: Sequence[StageCost]
) -> list[tuple[float, float]]:
    """Pairs of forward passes spent and test accuracy, during the trainings."""
    points, spent = [], 0.0
    for cost in costs:
        accuracies = _history(stages.get(cost.name, {}), ACCURACY)
        for number, accuracy in enumerate(accuracies, 1):
            points.append((round(spent + cost.forwards * number / len(accuracies)), accuracy))
        spent += cost.forwards
    every = -(-len(points) // _MOST_POINTS)
    return [point for i, point in enumerate(points, 1) if i % every == 0 or i == len(points)]


def _num_inputs(trained: Trained, costs: Sequence[StageCost]) -> int:
    """Number of distinct inputs that the student was trained on: those in memory and fresh ones."""
    parts = [part for part, _ in parts_of(trained.inputs) if part.steps(1) is not None]
    return sum(len(part.images(_ALL)) for part in parts) + sum(cost.fresh for cost in costs)


def _diversity(images: np.ndarray, teacher: Teacher) -> dict[str, float | None]:
    nearest = nearest_distances(images, teacher.input_range)
    features = teacher.tapped([teacher.penultimate]).predict(images, verbose=0)
    flat = np.asarray(features[0] if isinstance(features, list) else features)
    return {
        "nearest_distance": float(np.median(nearest)) if len(nearest) else None,
        "effective_rank": effective_rank(flat.reshape(len(images), -1)),
    }


def _main() -> int:
    """Read the arguments of `train` or of `run_row` as JSON from standard input, and call it."""
    job = json.load(sys.stdin)
    try:
        if "architecture" in job:
            facts = train(**job)
            path = pathlib.Path(job["output"]).with_suffix(".json")
            path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        else:
            run_row(**{**job, "suite": Suite.from_json(job["suite"])})
    except InputError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(_main())
