"""The arena of a microcontroller, against the interpreter itself."""

import sys

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.deploy.micro import arena_bytes


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    images = np.random.default_rng(0).random((50, 8, 8, 1), "float32")
    path = tmp_path_factory.mktemp("micro") / "student_int8.tflite"
    zskd.export(model, path, "litert_int8", images, num_checks=8)
    return path, images


def test_is_the_smallest_that_is_enough(file, capfd):
    runtime = pytest.importorskip(
        "tflite_micro.python.tflite_micro.runtime", reason="needs tflite-micro"
    )
    path, images = file
    size = arena_bytes(path)
    assert capfd.readouterr().err == ""
    interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=size)
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=size - 16)
    # The file computes the same there, up to one step of rounding.
    scale, zero_point = 1 / 255, -128
    pixels = np.clip(np.round(images[:1] / scale) + zero_point, -128, 127).astype(np.int8)
    interpreter.set_input(pixels, 0)
    interpreter.invoke()
    details = interpreter.get_output_details(0)["quantization_parameters"]
    steps = interpreter.get_output(0).astype(float) - details["zero_points"][0]
    expected = LiteRTModel(path).predict(images[:1])
    np.testing.assert_allclose(
        steps * details["scales"][0], expected, atol=1.01 * details["scales"][0]
    )


def test_is_unknown_without_the_package(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro.python.tflite_micro", None)
    assert arena_bytes(file[0]) is None
