import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.models.layout import channels_last
from keras_zskd.models.teacher import Teacher

layers = keras.layers


def channels_first(middle=lambda x: x, flatten="channels_first"):
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((3, 8, 9))
    x = layers.Conv2D(4, 3, data_format="channels_first")(x)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.Concatenate(axis=1)([x, layers.ReLU()(x)])
    x = layers.MaxPooling2D(2, data_format="channels_first")(middle(x))
    x = layers.Flatten(data_format=flatten)(x)
    return keras.Model(pixels, layers.Dense(3)(x), name="first")


@pytest.mark.parametrize("flatten", ["channels_first", "channels_last"])
def test_the_converted_model_computes_the_same(flatten):
    model = channels_first(flatten=flatten)
    images = np.random.default_rng(0).uniform(size=(4, 8, 9, 3)).astype("float32")
    with pytest.warns(UserWarning, match="channels last"):
        teacher = Teacher(model, (0, 1))
    assert teacher.input_shape == (8, 9, 3)
    # Without XLA, TensorFlow has channels_first convolutions on some CPUs only.
    call = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(teacher(images), call(images.transpose(0, 3, 1, 2)), atol=1e-5)
    np.testing.assert_array_equal(teacher.templates, model.layers[-1].kernel)


def test_a_layer_that_cannot_be_converted_is_refused():
    model = channels_first(layers.Reshape((8, 14, 3)))
    with pytest.raises(InputError, match=r"layer 'reshape.*of type Reshape"):
        channels_last(model)


def test_a_reshape_to_a_map_is_refused():
    def excited(x):
        scale = layers.GlobalAveragePooling2D(data_format="channels_first")(x)
        scale = layers.Reshape((8, 1, 1))(layers.Dense(8, activation="sigmoid")(scale))
        return layers.Multiply()([x, scale])

    with pytest.raises(InputError, match=r"layer 'reshape.*of type Reshape"):
        channels_last(channels_first(excited))


@pytest.mark.parametrize(
    "middle",
    [
        layers.Conv2D(4, 1, activation="softmax", data_format="channels_first"),
        layers.Activation("log_softmax"),
    ],
)
def test_an_activation_along_the_last_axis_is_refused(middle):
    with pytest.raises(InputError, match=r"with layer .* between channels_first layers"):
        channels_last(channels_first(middle))
