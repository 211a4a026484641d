"""One whole run of `keras_zskd.distill` in this process, for tables of accuracies and times."""

import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import keras

import keras_zskd as zskd
from benchmarks import table


def whole_run(
    teacher: str,
    method: Any,
    dataset: str,
    seed: int,
    student: float | Callable[[], keras.Model] = zskd.lenet5_half,
) -> dict[str, Any]:
    """Distill a saved teacher, and return sizes, seconds by stage, and results in percent.

    Args:
        teacher: File of a teacher for pixels in [0, 1].
        method: See `keras_zskd.distill`.
        dataset: TFDS name of the data for the evaluation.
        seed: Seed of the run and of the student's weights.
        student: Width of a copy of the teacher, or a function that builds the student.
    """
    keras.utils.set_random_seed(seed)  # The student's weights are drawn in this process.
    with tempfile.TemporaryDirectory() as directory:
        run = zskd.distill(
            zskd.Teacher(teacher, input_range=(0.0, 1.0)),
            student() if callable(student) else student,
            method,
            pathlib.Path(directory) / "run",
            seed=seed,
            dataset=dataset,
            verbose=0,
        )
    stages = run.record["stages"]
    training = stages.get("training", {"config": {"epochs": 0, "steps": 0}})["config"]
    agreement = {row["model"]: row for row in run.results["rows"]}["student"]["agreement"]
    return {
        "num_impressions": stages.get("impressions", {}).get("num_impressions", 0),
        "epochs": training["epochs"],
        "steps": training["epochs"] * training["steps"],
        "stages": {name: round(stage["seconds"], 1) for name, stage in stages.items()},
        "agreement": round(100 * agreement, 2),
        **table.accuracies(run.results),
    }
