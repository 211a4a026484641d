"""`estimate`: what `distill` would take, before it is begun."""

from typing import Any

import keras

from keras_zskd.jobs.distilling import as_student, check_needs
from keras_zskd.methods import Method, as_method
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.rehearsal import Rehearsal
from keras_zskd.runs.resources import Resources


def estimate(
    teacher: Teacher,
    student: float | keras.Model | str = 0.5,
    method: str | Method = "best",
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
