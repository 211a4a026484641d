"""The arena of a microcontroller."""

import importlib.util

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd.deploy import micro
from keras_zskd.deploy.micro import arena_bytes


def int8_file(path, filters):
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    images = np.random.default_rng(0).random((50, 8, 8, 1), "float32")
    zskd.export(model, path, "litert_int8", images, num_checks=8)
    return path


@pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="needs the package tflite-micro"
)
def test_grows_with_the_maps(tmp_path, capfd):
    narrow, wide = (arena_bytes(int8_file(tmp_path / f"{n}_int8.tflite", n)) for n in (4, 64))
    assert "allocate" not in capfd.readouterr().err
    # At least the maps of 6x6 positions, which are in memory at once with the input.
    assert 36 * 4 + 64 <= narrow < 20_000
    assert wide - narrow >= 36 * 60
    assert narrow % 16 == wide % 16 == 0


def test_is_unknown_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert arena_bytes(tmp_path / "any.tflite") is None


def test_is_unknown_if_the_interpreter_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    assert micro.arena_bytes(tmp_path / "broken.tflite") is None
