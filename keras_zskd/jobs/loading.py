"""`load_test_data`: load the labeled test split that models are evaluated on."""

import numpy as np

from keras_zskd.inputs import datasets
from keras_zskd.inputs.own_data import Data
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.labels import check_labels


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
    check_labels("dataset", labels, teacher)
    return images, labels
