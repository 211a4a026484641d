"""The training data of a run: its labels must be those of the teacher."""

import numpy as np
import pytest

from keras_zskd import InputError, Teacher
from keras_zskd.runs.resources import Resources

SETS = np.tril(np.ones((5, 5), int))  # Labels of which one is set are read as classes.


@pytest.mark.parametrize("is_multi_label", [False, True])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.arange(5), "`training_dataset` must have labels from 0 to 3.*from 0 to 4"),
        (np.arange(-1, 4), "Received: labels from -1 to 3"),
        (SETS, "per example.*zeros and ones for each of 5 labels"),
    ],
)
def test_other_labels_than_the_teachers_are_rejected(
    tiny_teacher, multi_label_teacher, make_images, is_multi_label, labels, said
):
    teacher = Teacher(multi_label_teacher if is_multi_label else tiny_teacher, (0, 1))
    resources = Resources((make_images(5), labels))
    with pytest.raises(InputError, match=said):
        resources.training_data(teacher)
    with pytest.raises(InputError, match=said):
        resources.images(3, teacher, seed=0)
    assert len(resources.unlabeled_images(teacher)) == 5


def test_a_class_is_a_set_of_one_label(multi_label_teacher, make_images):
    data = (make_images(4), np.arange(4))
    _, labels = Resources(data).training_data(Teacher(multi_label_teacher, (0, 1)))
    np.testing.assert_array_equal(labels, np.eye(4))
