"""`estimate`: what `distill` would take, before it is begun."""

import os
from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.distiller import check_student
from keras_zskd.inputs.own_data import Data
from keras_zskd.methods import Method, as_method
from keras_zskd.models.teacher import Teacher, load_model
from keras_zskd.runs.rehearsal import Rehearsal
from keras_zskd.runs.resources import Resources


def estimate(
    teacher: Teacher,
    student: float | keras.Model | str | os.PathLike[str] = 0.5,
    method: str | Method = "best",
    seed: int = 0,
    training_dataset: Data | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Time, disk and memory of `distill` with the same arguments, from a piece of each stage.

    Nothing is kept. Export and measuring, usually less than a minute, are not in it.

    Args:
        teacher: The teacher.
        student: As for `distill`.
        method: As for `distill`.
        seed: Of everything random.
        training_dataset: Real, labeled training data, for methods that need it; see `distill`.
        data_dir: Where TFDS finds its data; default: `TFDS_DATA_DIR`.

    Returns:
        "stages" as a list of name, seconds, disk and memory, and "seconds", "disk" and "memory" of
        the whole, in seconds and bytes.
    """
    method, resources = as_method(method), Resources(training_dataset, data_dir)
    check_needs(method, teacher, resources)
    with Rehearsal(teacher, as_student(student, teacher), seed, resources) as rehearsal:
        method.train(rehearsal)
        return {
            "stages": [vars(stage) for stage in rehearsal.stages],
            "seconds": sum(stage.seconds for stage in rehearsal.stages),
            "disk": sum(stage.disk for stage in rehearsal.stages),
            "memory": rehearsal.memory,
        }


def check_needs(method: Method, teacher: Teacher, resources: Resources) -> None:
    """Refuse a method that lacks something."""
    if (missing := method.missing(teacher, resources)) is not None:
        raise InputError(f"Method {method.name!r} cannot be used here. {missing}")


def as_student(
    student: float | keras.Model | str | os.PathLike[str], teacher: Teacher
) -> float | keras.Model:
    """A width as it is; a model, of a path if need be, that fits the teacher."""
    if isinstance(student, str | os.PathLike):
        student = load_model(student, teacher.safe_mode)
    if isinstance(student, keras.Model):
        check_student(teacher, student)
    return student
