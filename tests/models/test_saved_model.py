import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.models.probabilities import LogitsOfProbabilities
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher, load_model

layers = keras.layers
SHAPE = (6, 5, 1)


def exported(directory, units=3, end=None, shape=SHAPE):
    keras.utils.set_random_seed(0)
    parts = [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(units, end)]
    model = keras.Sequential([keras.Input(shape), *parts])
    path = str(directory / "my_model")
    model.export(path, verbose=False)
    return model, path


@pytest.mark.parametrize(
    ("units", "end", "ends_in"),
    [(3, None, "logits"), (3, "softmax", "softmax"), (1, "sigmoid", "sigmoid")],
)
def test_a_saved_model_is_a_teacher(tmp_path, units, end, ends_in):
    model, path = exported(tmp_path, units, end)
    teacher = Teacher(path, (0, 1), safe_mode=False)
    images = np.random.default_rng(0).uniform(size=(7, *SHAPE)).astype("float32")
    scores = np.asarray(teacher(images))
    if units == 1:
        expected = np.log(p := np.asarray(model(images))) - np.log(1 - p)
        scores = np.diff(scores, axis=1)
    else:
        expected = np.asarray(model(images))
        expected = np.log(expected) if end else expected
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert (teacher.ends_in, teacher.name, teacher.input_shape) == (ends_in, "my_model", SHAPE)
    np.testing.assert_allclose(teacher.original(images), model(images), atol=1e-6)
    with pytest.raises(InputError, match="no class templates"):
        _ = teacher.templates
    with pytest.raises(InputError, match="Write the smaller model by hand"):
        slim(teacher.prototype, 0.5)


def test_sizes_that_are_not_in_the_file_must_be_given(tmp_path):
    _, path = exported(tmp_path, shape=(None, None, 1))
    with pytest.raises(InputError, match=r"such as \(32, 32, 3\)"):
        Teacher(path, (0, 1), safe_mode=False)
    teacher = Teacher(path, (0, 1), safe_mode=False, input_shape=(9, 8, 1))
    assert teacher(np.zeros((2, 9, 8, 1), "float32")).shape == (2, 3)
    with pytest.raises(InputError, match="must fit the SavedModel"):
        Teacher(path, (0, 1), safe_mode=False, input_shape=(9, 8, 3))


def test_a_saved_model_is_refused_where_it_cannot_serve(tmp_path):
    _, path = exported(tmp_path)
    with pytest.raises(InputError, match="set `safe_mode` to False"):
        Teacher(path)
    with pytest.raises(InputError, match="can only be a teacher"):
        load_model(path)
    fixed = str(tmp_path / "fixed")
    module = tf.Module()
    spec = tf.TensorSpec((1, *SHAPE), tf.float32)
    module.call = tf.function(lambda x: tf.reshape(x, (1, -1)), [spec])
    tf.saved_model.save(module, fixed, module.call)
    with pytest.raises(InputError, match="any batch size"):
        Teacher(fixed, safe_mode=False)


def test_a_layer_of_a_saved_model_is_kept_in_float32(tmp_path):
    _, path = exported(tmp_path)
    layer = layers.TFSMLayer(path, call_endpoint="serve")
    pixels = keras.Input(SHAPE)
    model = keras.Model(pixels, layer(pixels))
    images = np.random.default_rng(0).uniform(size=(2, *SHAPE)).astype("float32")
    teacher = Teacher(model, (0, 1)).at_precision("mixed_bfloat16")
    np.testing.assert_allclose(teacher(images), model(images), atol=1e-2)
    model.save(tmp_path / "teacher.keras")
    with pytest.raises(InputError, match="TFSMLayer"):
        Teacher(str(tmp_path / "teacher.keras"))


def test_logits_of_extreme_probabilities_are_finite():
    for probabilities, name in (
        ([[0.0, 1.0]], "softmax"),
        ([[0.0, 1.0]], "sigmoid"),
        ([[0.0]], "sigmoid"),
        ([[1.0]], "sigmoid"),
    ):
        logits = np.asarray(LogitsOfProbabilities(name)(np.array(probabilities, "float32")))
        assert np.isfinite(logits).all()
        activation = getattr(keras.ops, name)
        np.testing.assert_allclose(activation(logits), probabilities, atol=1e-7)
