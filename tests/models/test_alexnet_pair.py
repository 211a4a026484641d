import keras
import numpy as np
import pytest

from keras_zskd.models import LocalResponseNormalization, alexnet, alexnet_half


def test_local_response_normalization_matches_its_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype("float32") * 10
    layer = LocalResponseNormalization(depth_radius=2, bias=1.5, alpha=0.1, beta=0.6)
    expected = np.empty_like(x)
    for c in range(6):
        energy = np.sum(x[..., max(0, c - 2) : c + 3] ** 2, axis=-1)
        expected[..., c] = x[..., c] / (1.5 + 0.1 * energy) ** 0.6
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_local_response_normalization_can_be_saved(tmp_path, dtype):
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 6)).astype("float32")
    pixels = keras.Input((3, 3, 6))
    layer = LocalResponseNormalization(depth_radius=1, alpha=0.5, dtype=dtype)
    model = keras.Model(pixels, layer(pixels))
    model.save(tmp_path / "lrn.keras")
    loaded = keras.saving.load_model(tmp_path / "lrn.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert loaded.layers[-1].depth_radius == 1


def test_layers_are_in_the_published_order():
    kinds = [type(layer).__name__ for layer in alexnet_half().layers[1:]]
    first = ["Conv2D", "LocalResponseNormalization", "MaxPooling2D", "BatchNormalization"]
    dense = ["Dense", "Dropout", "BatchNormalization"]
    assert kinds == [
        *first,
        *first,
        *["Conv2D", "BatchNormalization"] * 2,
        *["Conv2D", "MaxPooling2D", "BatchNormalization"],
        "Flatten",
        *dense,
        *dense,
        "Dense",
    ]


def test_feature_maps_shrink_as_published():
    model = alexnet()
    maps = {name: model.get_layer(name).output.shape[1:] for name in ("pool1", "pool2", "pool5")}
    assert maps == {"pool1": (15, 15, 48), "pool2": (7, 7, 128), "pool5": (3, 3, 128)}
    assert model.get_layer("flatten").output.shape == (None, 1152)


def test_initial_biases_are_those_of_the_paper():
    model = alexnet_half()
    starts = [float(model.get_layer(f"conv{i}").bias[0]) for i in range(1, 6)]
    assert starts == [0, 1, 0, 1, 1]
    assert np.std(model.get_layer("dense1").kernel) == pytest.approx(0.01, rel=0.05)
