"""`load_test_data`: load the labeled test split that models are evaluated on."""

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.inputs import datasets
from keras_zskd.inputs.own_data import Data
from keras_zskd.models.teacher import Teacher


def load_test_data(
    dataset: Data, teacher: Teacher, data_dir: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels of the test split, in the shape and range of a teacher's inputs.

    Args:
        dataset: The data, see `datasets.load`.
        teacher: The teacher.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.

    Raises:
        InputError: If the data cannot be read, or its labels are not those of the teacher.
    """
    images, labels = datasets.load(
        dataset, "test", teacher.input_shape, teacher.input_range, data_dir
    )
    if labels.ndim == 2 and not (teacher.is_multi_label and labels.shape[1] == teacher.num_classes):
        wanted = f"{teacher.num_classes} labels" if teacher.is_multi_label else "one class"
        raise InputError(
            f"`dataset` must have {wanted} per example, as teacher {teacher.name!r} predicts. "
            f"Received: zeros and ones for each of {labels.shape[1]} labels."
        )
    if labels.ndim == 1 and not 0 <= labels.min() <= labels.max() < teacher.num_classes:
        raise InputError(
            f"`dataset` must have labels from 0 to {teacher.num_classes - 1}, the classes of teacher "
            f"{teacher.name!r}. Received: labels from {labels.min()} to {labels.max()}."
        )
    return images, labels
