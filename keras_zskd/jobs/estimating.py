"""`estimate`: estimate time, disk and memory of `distill` before it runs."""

import os
from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.own_data import Data
from keras_zskd.jobs.choosing import choose
from keras_zskd.jobs.loading import load_test_data
from keras_zskd.methods import Method, as_method
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.record import check_directory
from keras_zskd.runs.rehearsal import Rehearsal
from keras_zskd.runs.resources import Resources


def estimate(
    teacher: Teacher,
    student: float | keras.Model | str | os.PathLike[str] = 0.5,
    method: str | Method = "best",
    seed: int = 0,
    training_dataset: Data | None = None,
    data_dir: str | None = None,
    records: str | os.PathLike[str] | None = None,
    dataset: Data | None = None,
    output_dir: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Estimate time, disk and memory of `distill` with the same arguments.

    A part of each stage is run and measured, on this machine alone; nothing is kept. Export and
    evaluation, which usually take less than a minute, are not included.

    Args:
        teacher: The teacher.
        student: As for `distill`.
        method: As for `distill`.
        seed: Seed of all random numbers.
        training_dataset: Real, labeled training data, for methods that need it; see `distill`.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        records: File of activation records, for methods that need them; see `distill`.
        dataset: As for `distill`; only checked.
        output_dir: As for `distill`; only checked.

    Returns:
        "stages" as a list of name, seconds, disk and memory, and the totals "seconds", "disk" and
        "memory", in seconds and bytes.
    """
    method, resources = as_method(method), Resources(training_dataset, data_dir, records)
    check_needs(method, teacher, resources)
    if output_dir is not None:
        check_directory(output_dir)
    if dataset is not None:
        load_test_data(dataset, teacher, data_dir)
    chosen = choose(student, teacher, seed).student
    with Rehearsal(teacher, chosen, seed, resources) as rehearsal:
        method.train(rehearsal)
        return {
            "stages": [vars(stage) for stage in rehearsal.stages],
            "seconds": sum(stage.seconds for stage in rehearsal.stages),
            "disk": sum(stage.disk for stage in rehearsal.stages),
            "memory": rehearsal.memory,
        }


def check_needs(method: Method, teacher: Teacher, resources: Resources) -> None:
    """Raise an error if a requirement of the method is missing."""
    if (missing := method.missing(teacher, resources)) is not None:
        raise InputError(f"Method {method.name!r} cannot be used here. {missing}")
