"""Export to ONNX."""

import importlib.util
import os

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.formats import export

layers = keras.layers
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None, reason="needs keras-zskd[onnx]"
)


@needs_onnx
def test_onnx_file_matches_the_model(tmp_path):
    # The mean and the variance of `Normalization` are tensors, not variables.
    normalization = layers.Normalization(mean=[0.2, 0.3, 0.4], variance=[0.5, 1.0, 2.0])
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            normalization,
            layers.Conv2D(4, 3, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )
    result = export(model, tmp_path / "s.onnx", num_checks=50)
    assert (result.format, result.agreement) == ("onnx", 1.0)
    assert result.max_abs_difference < 1e-4
    assert not isinstance(normalization.mean, np.ndarray)  # The model itself does not change.


@needs_onnx
def test_a_model_that_cannot_be_converted_is_explained(tmp_path):
    @keras.saving.register_keras_serializable(package="test_onnx")
    class NumpyFunction(layers.Layer):
        def call(self, x):
            import tensorflow as tf

            return tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), x.shape)

    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(NumpyFunction()(inputs)))
    with pytest.raises(InputError, match="has no ONNX form"):
        export(model, tmp_path / "s.onnx", num_checks=10)
    assert os.listdir(tmp_path) == []


def test_onnx_without_its_packages_is_rejected(tmp_path, tiny_teacher, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"requires onnx, tf2onnx, onnxruntime, .*keras-zskd\[onnx\]"
    ):
        export(tiny_teacher, tmp_path / "s.onnx")
    assert os.listdir(tmp_path) == []
