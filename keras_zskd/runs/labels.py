"""Check that the labels of a dataset are those of a teacher."""

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher


def check_labels(argument: str, labels: np.ndarray, teacher: Teacher) -> None:
    """Raise an error if labels are not classes of the teacher, or sets of its labels.

    Args:
        argument: Name of the argument that the data was given as.
        labels: Classes `(N,)`, or zeros and ones `(N, K)`.
        teacher: The teacher.
    """
    classes = teacher.num_classes
    if labels.ndim == 2 and not (teacher.is_multi_label and labels.shape[1] == classes):
        wanted = f"{classes} labels" if teacher.is_multi_label else "one class"
        raise InputError(
            f"`{argument}` must have {wanted} per example, as teacher {teacher.name!r} predicts. "
            f"Received: zeros and ones for each of {labels.shape[1]} labels."
        )
    if labels.ndim == 1 and not 0 <= labels.min() <= labels.max() < classes:
        raise InputError(
            f"`{argument}` must have labels from 0 to {classes - 1}, the classes of teacher "
            f"{teacher.name!r}. Received: labels from {labels.min()} to {labels.max()}."
        )
