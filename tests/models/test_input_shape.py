import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher, load_model

layers = keras.layers


def of_any_size():
    keras.utils.set_random_seed(0)
    body = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, activation="relu")])
    parts = [body, layers.GlobalAveragePooling2D(), layers.Dense(3, name="head")]
    return keras.Sequential([keras.Input((None, None, 3)), *parts], name="of any size")


def test_a_model_of_inputs_of_any_size_is_a_teacher_at_one_size():
    model = of_any_size()
    with pytest.raises(InputError, match=r"such as \(32, 32, 3\)"):
        Teacher(model, (0, 1))
    teacher = Teacher(model, (0, 1), input_shape=[8, 7, 3])
    images = np.random.default_rng(0).uniform(size=(2, 8, 7, 3)).astype("float32")
    np.testing.assert_allclose(teacher(images), model(images), atol=1e-6)
    np.testing.assert_array_equal(teacher.templates, model.get_layer("head").kernel)
    assert (teacher.name, teacher.input_shape) == ("of any size", (8, 7, 3))
    assert slim(teacher.prototype, 0.5).input_shape == (None, 8, 7, 3)
    assert model.input_shape == (None, None, None, 3)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (2, 2, 3)])
def test_a_shape_that_does_not_fit_is_refused(shape):
    with pytest.raises(InputError, match="`input_shape` must fit the model"):
        Teacher(of_any_size(), (0, 1), input_shape=shape)


@pytest.mark.parametrize("shape", [(), (8, 0, 3), "8,8,3", (8.0, 8, 3), (None, 8, 3)])
def test_a_shape_must_be_positive_integers(shape):
    with pytest.raises(InputError, match="`input_shape` must be positive integers"):
        Teacher(of_any_size(), (0, 1), input_shape=shape)


def test_files_without_a_whole_model_are_refused_in_a_sentence(tmp_path):
    model = of_any_size()
    model.save_weights(tmp_path / "m.weights.h5")
    (tmp_path / "m.weights.h5").rename(tmp_path / "best.h5")
    (tmp_path / "m.json").write_text(model.to_json(), encoding="utf-8")
    for name, what in (
        ("best.h5", "weights without a model"),
        ("m.json", "a model without weights"),
    ):
        with pytest.raises(InputError, match=f"{what}. Build the model in Python"):
            load_model(str(tmp_path / name))
