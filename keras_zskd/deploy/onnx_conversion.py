"""Conversion of a Keras model to ONNX by `keras.Model.export`."""

import contextlib
import importlib.util
import pathlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, first_line
from keras_zskd.core.keras_internals import flat_layers
from keras_zskd.deploy.litert_conversion import FormatError

_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")


def write_onnx(model: keras.Model, path: pathlib.Path) -> Callable[[np.ndarray], Any]:
    """Write a model as an ONNX file, and return it as a function that onnxruntime executes.

    Args:
        model: The model, in float32, with one input.
        path: The file to write.

    Raises:
        InputError: If a package is missing.
        FormatError: If the model has no such form.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"Format 'onnx' requires {', '.join(missing)}, which could not be found. Install with "
            "`pip install keras-zskd[onnx]`."
        )
    import onnxruntime

    spec = keras.InputSpec(shape=(None, *model.inputs[0].shape[1:]), dtype="float32", name="image")
    try:
        with warnings.catch_warnings(), _tensors_as_arrays(model):
            warnings.simplefilter("ignore")
            model.export(str(path), format="onnx", verbose=False, input_signature=[spec])
        session = onnxruntime.InferenceSession(path.read_bytes())
    except Exception as error:  # Both libraries raise many types.
        raise FormatError(
            f"Model {model.name!r} has no ONNX form: {first_line(error)}. Replace that layer, or "
            "export as saved_model."
        ) from error
    return lambda images: session.run(None, {"image": images})[0]


@contextlib.contextmanager
def _tensors_as_arrays(model: keras.Model) -> Iterator[None]:
    """Replace tensors in attributes of layers, such as the mean of `Normalization`, by arrays.

    tf2onnx makes an input of the model of each tensor, but a constant of each array.
    """
    replaced = [
        (layer, name, value)
        for layer in flat_layers(model)
        for name, value in vars(layer).items()
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy")
    ]
    try:
        for layer, name, value in replaced:
            object.__setattr__(layer, name, value.numpy())
        yield
    finally:
        for layer, name, value in replaced:
            object.__setattr__(layer, name, value)
