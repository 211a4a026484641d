"""A SavedModel directory as a Keras classifier."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, first_line
from keras_zskd.models.probabilities import NUM_TRIED, LogitsOfProbabilities, activation_of

_ENDPOINT = "serving_default"


def is_saved_model(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a SavedModel directory."""
    return os.path.isfile(os.path.join(path, "saved_model.pb"))


def read_saved_model(
    path: str | os.PathLike[str], input_shape: tuple[int, ...] | None = None
) -> keras.Model:
    """Return a SavedModel as a Functional model without class templates.

    Its endpoint "serving_default" becomes one layer, through which gradients pass. Its outputs for
    random inputs show whether it ends in probabilities or in logits. Probabilities are converted to
    logits by a logarithm, and the logits are followed by the original activation.

    Args:
        path: The directory, written by `model.export`, `tf.saved_model.save` or an estimator.
        input_shape: Shape of one input. Defaults to the one in the file.

    Raises:
        InputError: If it cannot be read or is not a classifier of one input.
    """
    path = os.fspath(path)
    layer = _endpoint(path)
    (spec,) = layer.call_endpoint_fn.structured_input_signature[1].values()
    pixels = keras.Input(_shape_of(spec, input_shape, path))
    name = os.path.basename(os.path.normpath(path))
    try:
        outputs = FirstOutput()(layer(pixels))
    except Exception as error:  # TensorFlow raises many types for shapes that do not fit.
        reason = first_line(error)
        raise InputError(
            f"`input_shape` must fit the SavedModel. Received: {path!r} with inputs of shape "
            f"{pixels.shape[1:]}. Error of TensorFlow: {reason}"
        ) from error
    model = keras.Model(pixels, outputs, name=name)
    if len(outputs.shape) != 2:
        return model  # `check_classifier` reports what is wrong.
    tried = np.random.default_rng(0).uniform(-1, 1, (NUM_TRIED, *pixels.shape[1:]))
    scores = np.asarray(model(tried.astype("float32")))
    activation = activation_of(scores)
    if activation is not None:
        logits = LogitsOfProbabilities(activation)(outputs)
        outputs = keras.layers.Activation(activation)(logits)
    return keras.Model(pixels, outputs, name=name)


@keras.saving.register_keras_serializable(package="keras_zskd")
class FirstOutput(keras.layers.Layer):
    """Returns the only output of an endpoint, taken from its dictionary, in float32."""

    def call(self, outputs: Any) -> Any:
        """Return `(N, K)`."""
        (output,) = tf.nest.flatten(outputs)
        return keras.ops.cast(output, "float32")


def _endpoint(path: str) -> Any:
    try:
        layer = keras.layers.TFSMLayer(path, call_endpoint=_ENDPOINT, trainable=False)
        inputs = layer.call_endpoint_fn.structured_input_signature[1]
        outputs = tf.nest.flatten(layer.call_endpoint_fn.structured_outputs)
    except Exception as error:  # TensorFlow raises many types for unreadable files.
        reason = first_line(error)
        raise InputError(
            f"`path` must be a SavedModel with the endpoint {_ENDPOINT!r}. Received: path={path!r}, "
            f"which could not be read. Error of TensorFlow: {reason}"
        ) from error
    for tensors, what in ((inputs, "inputs"), (outputs, "outputs")):
        if len(tensors) != 1:
            raise InputError(
                f"`path` must be a SavedModel with one input and one output. Received: path={path!r} "
                f"with {len(tensors)} {what}. Export a model with only one of them."
            )
    (spec,) = inputs.values()
    if not spec.dtype.is_floating:
        raise InputError(
            "`path` must be a SavedModel of floating-point inputs, which can be varied continuously. "
            f"Received: path={path!r} with inputs of type {spec.dtype.name}. Export the part of the "
            "model after its first conversion to float."
        )
    return layer


def _shape_of(spec: Any, input_shape: tuple[int, ...] | None, path: str) -> tuple[int, ...]:
    """Return the shape of one input: the given one, or else the one in the file."""
    known = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    if known is not None and known[0] is not None:
        raise InputError(
            "`path` must be a SavedModel of any batch size. Received: "
            f"path={path!r} with inputs of shape {known}. Export it with a batch size of None."
        )
    if input_shape is None:
        if known is None or None in known[1:]:
            raise InputError(
                f"`input_shape` must be given for a model with inputs of unknown size. Received: "
                f"{path!r} with inputs of shape {known}. Set it to the shape of one "
                "input, such as (32, 32, 3)."
            )
        return tuple(known[1:])
    return input_shape
