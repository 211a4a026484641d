"""`estimate`: what `distill` would take, before it is begun."""

from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.distiller import check_student
from keras_zskd.methods import Method, get_method
from keras_zskd.models.teacher import Teacher, load_model
from keras_zskd.runs.rehearsal import Rehearsal
from keras_zskd.runs.resources import Resources


def estimate(
    teacher: Teacher,
    student: float | keras.Model | str = 0.5,
    method: str | Method = "zskd",
    seed: int = 0,
    training_dataset: str | None = None,
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Time, disk and memory of `distill` with the same arguments, from a piece of each stage.

    Nothing is kept. Export and measuring, usually less than a minute, are not in it.

    Args:
        teacher: The teacher.
        student: As for `distill`.
        method: As for `distill`.
        seed: Of everything random.
        training_dataset: TFDS name of real, labeled training data, for methods that need it.
        data_dir: Where TFDS finds its data; default: `TFDS_DATA_DIR`.

    Returns:
        "stages" as a list of name, seconds, disk and memory, and "seconds", "disk" and "memory" of
        the whole, in seconds and bytes.
    """
    method = get_method(method)() if isinstance(method, str) else method
    resources = Resources(training_dataset, data_dir)
    if (missing := method.missing(teacher, resources)) is not None:
        raise InputError(f"Method {method.name!r} cannot be used here. {missing}")
    if isinstance(student, str):
        student = load_model(student, teacher.safe_mode)
    if isinstance(student, keras.Model):
        check_student(teacher, student)
    with Rehearsal(teacher, student, seed, resources) as rehearsal:
        method.train(rehearsal)
        return {
            "stages": [vars(stage) for stage in rehearsal.stages],
            "seconds": sum(stage.seconds for stage in rehearsal.stages),
            "disk": sum(stage.disk for stage in rehearsal.stages),
            "memory": rehearsal.memory,
        }
