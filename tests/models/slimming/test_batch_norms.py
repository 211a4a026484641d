import keras
import numpy as np
import pytest
from keras import layers

from keras_zskd.core.errors import InputError
from keras_zskd.models import repair_batch_norms


def _student(dtype="float32"):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((3, 3, 2))
    x = layers.Conv2D(4, 1, use_bias=False, dtype=dtype)(pixels)
    x = layers.BatchNormalization(name="first", dtype=dtype)(x)
    inside = keras.Input((3, 3, 4))
    y = layers.Conv2D(3, 1, use_bias=False, dtype=dtype)(layers.ReLU(dtype=dtype)(inside))
    block = keras.Model(inside, layers.BatchNormalization(name="second", dtype=dtype)(y))
    x = layers.GlobalAveragePooling2D()(block(x))
    return keras.Model(pixels, layers.Dense(2)(x)), block


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-5), ("mixed_float16", 5e-3)], ids=lambda v: str(v)
)
@pytest.mark.parametrize("batch_size", [4, 250])
def test_statistics_are_those_of_the_images(dtype, tolerance, batch_size):
    student, block = _student(dtype)
    images = np.random.default_rng(1).normal(2, 3, (11, 3, 3, 2)).astype("float32")
    assert repair_batch_norms(student, images, batch_size) is student
    first, second = student.get_layer("first"), block.get_layer("second")
    x = images @ student.layers[1].get_weights()[0][0, 0]
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(first.moving_mean, mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(first.moving_variance, variance, rtol=tolerance)
    x = np.maximum((x - mean) / np.sqrt(variance + first.epsilon), 0)
    x = x @ block.layers[2].get_weights()[0][0, 0]
    np.testing.assert_allclose(
        second.moving_mean, x.mean((0, 1, 2)), rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(second.moving_variance, x.var((0, 1, 2)), rtol=tolerance)


def test_invalid_arguments_raise():
    student, _ = _student()
    with pytest.raises(InputError, match="at least one image"):
        repair_batch_norms(student, np.zeros((0, 3, 3, 2)))
    with pytest.raises(InputError, match="batch_size=0"):
        repair_batch_norms(student, np.zeros((1, 3, 3, 2)), 0)
