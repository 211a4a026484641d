"""The training data of a run: its labels must be those of the teacher."""

import keras
import numpy as np
import pytest

from keras_zskd import InputError, Teacher
from keras_zskd.runs.resources import Resources

SETS = np.tril(np.ones((5, 5), int))  # Labels of which one is set are read as classes.


def _teacher(tiny_teacher, is_multi_label=False):
    if not is_multi_label:
        return Teacher(tiny_teacher, (0, 1))
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(inputs)
    return Teacher(keras.Model(inputs, keras.layers.Dense(4, activation="sigmoid")(x)), (0, 1))


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
    tiny_teacher, make_images, is_multi_label, labels, said
):
    teacher = _teacher(tiny_teacher, is_multi_label)
    resources = Resources((make_images(5), labels))
    with pytest.raises(InputError, match=said):
        resources.training_data(teacher)
    with pytest.raises(InputError, match=said):
        resources.images(3, teacher, seed=0)
    assert len(resources.unlabeled_images(teacher)) == 5


def test_a_class_is_a_set_of_one_label(tiny_teacher, make_images):
    data = (make_images(4), np.arange(4))
    _, labels = Resources(data).training_data(_teacher(tiny_teacher, is_multi_label=True))
    np.testing.assert_array_equal(labels, np.eye(4))
