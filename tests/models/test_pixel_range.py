"""`find_pixel_range`: preprocessing, batch normalization and predictions as evidence."""

import keras
import numpy as np
import pytest

from keras_zskd.models.logits import logits_view
from keras_zskd.models.pixel_range import find_pixel_range

layers, applications = keras.layers, keras.applications


def network(preprocessing=None, channels=3):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((16, 16, channels))
    x = pixels if preprocessing is None else preprocessing(pixels)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    return keras.Model(pixels, layers.Dense(4)(layers.Flatten()(x)))


def found_in(model):
    return find_pixel_range(logits_view(model))


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (layers.Rescaling(1 / 255), (0, 255)),
        (layers.Rescaling(1 / 127.5, offset=-1), (0, 255)),
        (layers.Rescaling(2.0, offset=-1.0), (0, 1)),
        (lambda x: x / 255.0, (0, 255)),
        (lambda x: (x + 1.0) * 0.5, (-1, 1)),
        (lambda x: layers.RandomFlip()(layers.Rescaling(1 / 255)(x)), (0, 255)),
        (layers.Normalization(mean=[0.49, 0.48, 0.45], variance=[0.06, 0.06, 0.07]), (0, 1)),
        (layers.Normalization(mean=[0.13] * 3, variance=[0.095] * 3), (0, 1)),
        (layers.Normalization(mean=[120.0] * 3, variance=[3600.0] * 3), (0, 255)),
        (applications.vgg16.preprocess_input, (0, 255)),
        (applications.mobilenet_v2.preprocess_input, (0, 255)),
        (applications.densenet.preprocess_input, (0, 255)),
    ],
)
def test_preprocessing_determines_the_range(preprocessing, expected):
    found = found_in(network(preprocessing))
    assert found.input_range == expected
    assert found.evidence.startswith("its preprocessing maps")


def test_preprocessing_inside_of_a_nested_model_is_found():
    pixels = keras.Input((16, 16, 3))
    outer = keras.Model(pixels, network(layers.Rescaling(1 / 255))(pixels))
    assert found_in(outer).input_range == (0, 255)


def photographs(count=200):
    """Smooth random pictures in [0, 1], unlike those that the range is judged by."""
    random = np.random.default_rng(5)
    coarse = random.uniform(size=(count, 4, 4, 3))
    return np.asarray(keras.ops.image.resize(coarse, (16, 16), "bicubic")).clip(0, 1)


@pytest.mark.parametrize("ends", [(0, 1), (-1, 1), (0, 255), (-2, 2)])
def test_batch_normalization_determines_the_range(ends):
    keras.utils.set_random_seed(1)
    norm = layers.BatchNormalization(momentum=0.0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)), layers.Conv2D(8, 3), norm, layers.ReLU(), layers.Flatten(),
            layers.Dense(4),
        ]
    )  # fmt: skip
    assert found_in(model).input_range is None  # Its statistics are the initial ones.
    model(ends[0] + (ends[1] - ends[0]) * photographs(), training=True)
    found = found_in(model)
    assert found.input_range == ends
    assert "first batch normalization" in found.evidence


@pytest.mark.parametrize(("high", "expected"), [(1.0, (0, 1)), (255.0, (0, 255)), (1e5, None)])
def test_predictions_determine_the_range(high, expected):
    """A network whose predictions vary over pictures in [0, high], and hardly over darker ones."""
    model = network(channels=1)
    kernel, bias, *head = model.get_weights()
    model.set_weights([30.0 * kernel / high, bias, *head])
    assert found_in(model).input_range == expected


def test_a_symmetric_range_is_not_guessed_from_predictions():
    # Half the range has little contrast, and the wider one as much as is usual: [-1, 1] or [-2, 2].
    model = network(channels=1)
    kernel, bias, *head = model.get_weights()
    model.set_weights([-4.0 * kernel, bias, *head])
    found = found_in(model)
    assert found.input_range is None
    assert "[-1, 1]" in found.evidence


def test_signals_and_tables_have_preprocessing_only():
    keras.utils.set_random_seed(0)
    table = [layers.Dense(4, "relu"), layers.Dense(3)]
    plain = keras.Sequential([keras.Input((5,)), *table])
    assert found_in(plain).input_range is None
    scaled = keras.Sequential([keras.Input((5,)), layers.Rescaling(1 / 255), *table])
    assert found_in(scaled).input_range == (0, 255)
