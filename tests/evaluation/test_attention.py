import sys

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import attention_maps

layers = keras.layers


def corner_model(ending=None):
    """8x8 pixels; evidence for class 0 is in the upper left quarter, for 1 in the lower right."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(1, 1, use_bias=False, activation="relu", name="conv")(inputs)
    x = layers.Flatten()(x)
    outputs = layers.Dense(2, use_bias=False, activation=ending, name="head")(x)
    model = keras.Model(inputs, outputs)
    upper_left = np.zeros((8, 8), "float32")
    upper_left[:4, :4] = 1.0
    kernel = np.stack([upper_left.ravel(), upper_left[::-1, ::-1].ravel()], axis=1)
    model.set_weights([np.ones((1, 1, 1, 1), "float32"), kernel * 20.0])
    return model


@pytest.fixture
def two_spots():
    """The same image twice, with a spot in both quarters: logits 20 and 20."""
    images = np.zeros((2, 8, 8, 1), "float32")
    images[:, 1, 1] = images[:, 6, 6] = 1.0
    return images


@pytest.mark.parametrize("ending", [None, "softmax"])
def test_map_is_at_the_evidence_for_the_class(two_spots, ending):
    model = corner_model(ending)
    maps = attention_maps({"student": model}, two_spots, np.array([0, 1]))["student"]
    assert maps.shape == (2, 8, 8)
    assert np.unravel_index(maps[0].argmax(), (8, 8)) in [(1, 1), (6, 6)]
    saliency = attention_maps({"s": without_convolution(ending)}, two_spots, np.array([0, 1]))["s"]
    assert saliency[0, :4, :4].min() == 1.0
    assert saliency[0, 4:, :].max() == 0.0
    assert saliency[1, 4:, 4:].min() == 1.0


def without_convolution(ending=None):
    flat = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(2, activation=ending, use_bias=False),
        ]
    )
    flat.set_weights(corner_model().get_weights()[1:])
    return flat


def test_confident_softmax_gives_the_map_of_its_logits(two_spots):
    # The softmax of 20 and 0 is 1 in float32, so its gradient would vanish.
    images = two_spots.copy()
    images[:, 6, 6] = 0.0
    both = {"logits": corner_model(), "softmax": corner_model("softmax")}
    maps = attention_maps(both, images, 0)
    np.testing.assert_allclose(maps["softmax"], maps["logits"], atol=1e-6)
    assert maps["softmax"].max() == 1.0


def test_every_kind_of_model(any_teacher, make_images):
    images = make_images(3)
    before = any_teacher.get_weights()
    maps = attention_maps({"one": any_teacher}, images, np.array([0, 1, 3]))["one"]
    assert maps.shape == (3, 8, 8)
    assert maps.dtype == np.float32
    assert maps.min() >= 0.0
    assert maps.max() == 1.0
    assert np.isfinite(maps).all()
    for left, right in zip(before, any_teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_convolution_with_1x1_output_is_skipped(make_images):
    """The last convolution of LeNet-5 has a 1x1 output; its map would be a single value."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Conv2D(5, 6, activation="relu"),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    maps = attention_maps({"m": model}, make_images(16), np.arange(16) % 4)["m"]
    assert (maps.std(axis=(1, 2)) > 0.0).sum() >= 12


def test_logits_too_large_for_exp(two_spots):
    model = corner_model()
    model.set_weights([model.get_weights()[0], model.get_weights()[1] * 100.0])
    assert float(np.max(model(two_spots))) > 1000.0
    maps = attention_maps({"m": model}, two_spots, 0)["m"]
    assert maps.max() == 1.0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(make_teacher, make_images, policy):
    plain = make_teacher()
    keras.mixed_precision.set_global_policy(policy)
    mixed = make_teacher()
    mixed.set_weights(plain.get_weights())
    maps = attention_maps({"plain": plain, "mixed": mixed}, make_images(4), 1)
    np.testing.assert_allclose(maps["mixed"], maps["plain"], atol=1e-5)


def test_invalid_arguments_raise(tiny_teacher, make_images, monkeypatch):
    images = make_images(3)
    with pytest.raises(InputError, match="one integer for each"):
        attention_maps({"m": tiny_teacher}, images, np.array([0, 1]))
    with pytest.raises(InputError, match="must be from 0 to 3"):
        attention_maps({"m": tiny_teacher}, images, 4)
    with pytest.raises(InputError, match="inputs of model 'm'"):
        attention_maps({"m": tiny_teacher}, make_images(3, (9, 8, 1)), 0)
    with pytest.raises(InputError, match="`images` must have shape"):
        attention_maps({"m": tiny_teacher}, images[0], 0)
    monkeypatch.setitem(sys.modules, "tf_keras_vis.saliency", None)
    with pytest.raises(InputError, match="pip install tf-keras-vis"):
        attention_maps({"m": tiny_teacher}, images, 0)
