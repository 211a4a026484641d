"""Students by the name of a `keras.applications` architecture."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models import applications


@pytest.fixture
def tiny(monkeypatch):
    """One architecture of a single convolution, with the interface of `keras.applications`."""
    seen = {}

    def tiny_network(
        weights, classes, classifier_activation, input_shape, include_preprocessing=True
    ):
        seen.update(weights=weights, activation=classifier_activation)
        if input_shape[0] < 4:
            raise ValueError("Input size must be at least 4x4")
        pixels = keras.Input(input_shape)
        x = keras.layers.Rescaling(2.0)(pixels) if include_preprocessing else pixels
        x = keras.layers.Flatten()(x)
        return keras.Model(pixels, keras.layers.Dense(classes, kernel_initializer="ones")(x))

    monkeypatch.setattr(keras.applications, "TinyNetV2", tiny_network, raising=False)
    return seen


def test_names_are_those_of_keras():
    names = applications.application_names()
    assert names["mobilenet_v2"] == "MobileNetV2"
    assert names["resnet50"] == "ResNet50"
    assert all(callable(getattr(keras.applications, name)) for name in names.values())
    for name in ("mobilenet_v2", "MobileNetV2", "mobilenetv2", "efficientnet_b0"):
        assert applications.is_application(name)
    assert not applications.is_application("200KB")


def test_inputs_are_scaled_to_the_range_of_the_architecture(tiny):
    model = applications.application("tinynet_v2", (4, 4, 1), 3, input_range=(0.0, 255.0))
    assert tiny == {"weights": None, "activation": None}
    assert model.output_shape == (None, 3)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    # 0, 255 and the mean become -1, 1 and 0, summed by a kernel of ones over 16 pixels.
    images = np.reshape([0.0, 255.0, 127.5], (3, 1, 1, 1)) * np.ones((1, 4, 4, 1))
    np.testing.assert_allclose(model(images)[:, 0], [-16.0, 16.0, 0.0], atol=1e-5)


def test_one_real_architecture():
    model = applications.application("mobilenet_v2", (32, 32, 1), 5)
    assert model.input_shape == (None, 32, 32, 1)
    assert model.output_shape == (None, 5)
    logits = model(np.random.default_rng(0).uniform(size=(2, 32, 32, 1)))
    assert not np.allclose(np.sum(logits, axis=1), 1.0)


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("lenet_9", (4, 4, 1), "Choose one of .*mobilenet_v2"),
        ("tinynet_v2", (2, 2, 1), "at least 4x4"),
        ("tinynet_v2", (7,), "takes images"),
    ],
)
def test_what_does_not_fit_is_refused(tiny, name, shape, said):
    with pytest.raises(InputError, match=said):
        applications.application(name, shape, 3)
