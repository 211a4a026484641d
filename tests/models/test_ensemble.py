import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.run import Run


def test_the_mean_of_probabilities_of_several_models(tmp_path, make_teacher, make_images):
    models = [make_teacher("softmax", seed=1), make_teacher("batch_norm", seed=2)]
    models[0].save(tmp_path / "a.keras")
    teacher = Teacher([tmp_path / "a.keras", models[1]], (0, 1))
    images = make_images(5)
    wanted = 0.5 * (models[0](images) + keras.ops.softmax(models[1](images, training=False)))
    np.testing.assert_allclose(keras.ops.softmax(teacher(images)), wanted, atol=1e-6)
    assert len(teacher.batch_norms) == 1
    assert teacher.describe()["class_templates"] is False
    np.testing.assert_allclose(Teacher(teacher)(images), teacher(images), atol=1e-6)


def test_students_are_narrower_copies_of_the_first(tmp_path, make_teacher):
    models = [make_teacher("softmax", seed=seed) for seed in (1, 2)]
    teacher = Teacher(models, (0, 1))
    with Run(teacher, 0.5, {}, tmp_path) as run:
        student = run.new_student("teacher")
    assert student.count_params() < models[0].count_params()
    assert student.layers[-1].activation is keras.activations.softmax


def test_models_that_differ_are_refused(make_teacher):
    with pytest.raises(InputError, match=r"same input shape and classes.*to 5 classes"):
        Teacher([make_teacher(), make_teacher(num_classes=5)], (0, 1))
    scaled = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255)])
    scaled.add(make_teacher("sequential"))
    with (
        pytest.warns(UserWarning, match="is unknown"),
        pytest.raises(InputError, match="one input"),
    ):
        Teacher([scaled, make_teacher()])
    with pytest.raises(InputError, match="an empty list"):
        Teacher([], (0, 1))
