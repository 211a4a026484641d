"""`record`: teachers and labels that have no activation records."""

import numpy as np
import pytest

from keras_zskd import InputError, Teacher, record


@pytest.mark.parametrize(
    ("is_multi_label", "labels", "said"),
    [
        (True, np.arange(4), "`teacher` must be a single-label classifier"),
        (False, np.tril(np.ones((4, 4), int)), "`training_dataset` must have one class"),
        (False, np.arange(-1, 3), "labels from -1 to 2"),
        (False, np.array([0, 1, 2, 2]), "`labels` must be of each of the 4 classes"),
    ],
)
def test_teachers_and_labels_without_records_are_rejected(
    tiny_teacher, multi_label_teacher, make_images, tmp_path, is_multi_label, labels, said
):
    teacher = Teacher(multi_label_teacher if is_multi_label else tiny_teacher, (0, 1))
    with pytest.raises(InputError, match=said):
        record(teacher, (make_images(4), labels), tmp_path / "records.npz")
    assert not (tmp_path / "records.npz").exists()
