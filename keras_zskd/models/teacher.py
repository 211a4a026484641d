"""`Teacher`: a Keras classifier with access to its logits, features and class templates."""

import copy
import dataclasses
import math
import os
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.models import graph


class Teacher:
    """A frozen, private float32 copy of a trained classifier that always returns logits.

    The original model is never changed, neither its `trainable` flags nor the statistics of its
    batch normalization layers. Mixed-precision models are copied in float32: synthesis needs the
    gradients with respect to the pixels, which are lost in float16.

    Args:
        model: A built Functional or Sequential classifier with one input and one output of shape
            `(N, K)`, `K >= 2`, ending in logits or softmax; or the path of a `.keras` or `.h5` file
            of such a model; or a `Teacher`, whose original model is used.
        input_range: `(low, high)`, range of the pixels that the model was trained on. By default,
            it is inferred from a Rescaling or Normalization layer of the model. If there is none,
            it is `(0, 1)`, with a warning.
        safe_mode: As in Keras: refuse files with Lambda layers, which contain code that would run.

    Attributes:
        original: The original model.
        model: Flat Functional model from pixels `(N, *input_shape)` to logits `(N, K)`, not
            trainable.
        input_shape: Shape of one input, without the batch axis.
        input_range: `(low, high)`, range of the pixels.
        num_classes: Number of classes `K`.
        ends_in: Output of the original model: "logits" or "softmax".

    Raises:
        InputError: If the model cannot be used as a teacher. The message states the reason.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(3, activation="softmax")])
        >>> teacher = Teacher(model, input_range=(0, 1))
        >>> teacher.num_classes, teacher.ends_in, teacher.templates.shape
        (3, 'softmax', (64, 3))
    """

    def __init__(
        self,
        model: "keras.Model | str | os.PathLike[str] | Teacher",
        input_range: tuple[float, float] | None = None,
        safe_mode: bool = True,
    ):
        if isinstance(model, Teacher):
            input_range = input_range or model.input_range
            model = model.original
        if isinstance(model, str | os.PathLike):
            model = load_model(model, safe_mode)
        self.safe_mode = safe_mode
        check_classifier(model, role="teacher")
        self.input_range: tuple[float, float] = _check_range(input_range) or _find_range(model)
        flat = graph.typed_copy(model, "float32")
        self._view = graph.logits_view(flat)
        softmax: Any = self._view.softmax
        if hasattr(softmax, "activation"):
            # Safe to change in a private copy, and keeps the model serializable.
            softmax.activation = keras.activations.linear
            flat_view = graph.logits_view(flat)
            self._view = dataclasses.replace(flat_view, ends_in="softmax")
        self.model = self._view.model
        self.model.trainable = False
        self.original: keras.Model = model
        self.name = model.name
        self.ends_in = self._view.ends_in
        self.input_shape: tuple[int, ...] = tuple(self.model.input_shape[1:])
        self.num_classes: int = int(self.model.output_shape[-1])
        self.num_parameters: int = int(model.count_params())
        self.batch_norms = tuple(layer for layer, _ in self._view.batch_norms)
        self._check_weights()

    def __call__(self, x: Any) -> Any:
        """Compute logits `(N, K)` float32 from pixels `(N, *input_shape)`, in inference mode."""
        return tf.cast(self.model(x, training=False), tf.float32)

    @property
    def templates(self) -> np.ndarray:
        """Class templates `(D, K)`: the columns `w_k` of the last kernel (paper, section 3.2)."""
        if self._view.head is None:
            raise InputError(
                "`teacher` must end in a Dense layer or a 1x1 convolution. Received: teacher="
                f"{self.name!r}, which has no class templates. Use one-hot targets instead."
            )
        with tf.init_scope():  # Also works while a tf.function is traced.
            kernel = np.asarray(self._view.head.kernel)
        return kernel.reshape(-1, kernel.shape[-1])

    @property
    def offsets(self) -> np.ndarray:
        """Biases `(K,)` that are added to the products with the class templates."""
        _ = self.templates  # Raises an InputError if there are none.
        bias = getattr(self._view.head, "bias", None)
        with tf.init_scope():
            return np.zeros(self.num_classes, np.float32) if bias is None else np.asarray(bias)

    @property
    def penultimate(self) -> Any:
        """Symbolic tensor of the features that are multiplied by the class templates."""
        _ = self.templates  # Raises an InputError if there are none.
        return self._view.features

    def at_precision(self, dtype: str) -> "Teacher":
        """Return the same teacher with a `model` that computes in another precision.

        Args:
            dtype: A Keras dtype policy with float32 weights, such as "mixed_bfloat16".
        """
        other = copy.copy(self)
        other._view = graph.logits_view(graph.typed_copy(self.model, dtype))
        other.model = other._view.model
        other.model.trainable = False
        other.batch_norms = tuple(layer for layer, _ in other._view.batch_norms)
        return other

    def tapped(self, tensors: Any) -> keras.Model:
        """Create a model with the inputs of `model` that returns the given tensors of it."""
        return keras.Model(self.model.inputs[0], tensors)

    @property
    def batch_norm_inputs(self) -> list[Any]:
        """Symbolic input tensors of the batch normalization layers, in order."""
        return [tensor for _, tensor in self._view.batch_norms]

    def describe(self) -> dict[str, Any]:
        """Return the properties of the teacher as plain JSON types."""
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "input_range": list(self.input_range),
            "num_classes": self.num_classes,
            "ends_in": self.ends_in,
            "parameters": self.num_parameters,
            "class_templates": self._view.head is not None,
            "batch_norms": len(self.batch_norms),
        }

    def _check_weights(self) -> None:
        for layer in self.model.layers:
            for variable in layer.weights:
                if not np.all(np.isfinite(np.asarray(variable, dtype=np.float32))):
                    raise InputError(
                        "`teacher` must have finite weights. Received: teacher="
                        f"{self.name!r} with NaN or infinite weights (layer {layer.name!r}, "
                        f"{variable.name}). Load a checkpoint from before the training diverged."
                    )


def load_model(path: str | os.PathLike[str], safe_mode: bool = True) -> keras.Model:
    """Load a Keras model.

    Args:
        path: A `.keras` or legacy `.h5` file.
        safe_mode: As in Keras: refuse files with Lambda layers, which contain code.

    Raises:
        InputError: If the file does not exist, is not a Keras model, or is unsafe to load.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise InputError(
            f"`path` must be an existing model file. Received: path={path!r}, which does not exist."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # Compiled, since the loss identifies a regressor.
                return keras.saving.load_model(path, safe_mode=safe_mode)
            except Exception:  # A custom loss, or an optimizer of another version.
                return keras.saving.load_model(path, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras raises many types of errors for unreadable files.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "lambda" in str(error).lower():
            raise InputError(
                "`path` must be a model without Lambda layers, which contain code. Received: "
                f"path={path!r}. If you trust its author, set `safe_mode` to False."
            ) from error
        raise InputError(
            "`path` must be a .keras or .h5 file written by model.save(). Received: "
            f"path={path!r}, which could not be read as a Keras model. Error of Keras: "
            f"{reason[:300]}"
        ) from error


def check_classifier(model: Any, role: str) -> None:
    """Check that a model is a Keras classifier with a graph, one input and one output.

    Args:
        model: The model to check.
        role: "teacher" or "student", for the error message.

    Raises:
        InputError: If it is not, with the reason and the fix.
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            f"`{role}` must be a Keras model or the path of a .keras file. Received: an object of "
            f"type {type(model).__name__}."
        )
    if not model.built:
        raise InputError(
            f"`{role}` must be built. Received: {role}={model.name!r}, which is not built. Start "
            "the model with keras.Input(shape)."
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise InputError(
            f"`{role}` must be a Functional or Sequential model. Received: {role}={model.name!r}, "
            "a subclassed model without a graph. Wrap it: keras.Model(inputs, model(inputs))."
        )
    for tensors, what in ((inputs, "inputs"), (outputs, "outputs")):
        if len(tensors) != 1:
            raise InputError(
                f"`{role}` must have one input and one output. Received: {role}={model.name!r} "
                f"with {len(tensors)} {what}. Make a keras.Model with only one of them."
            )
    if None in inputs[0].shape[1:]:
        raise InputError(
            f"`{role}` must have a fixed input shape. Received: {role}={model.name!r} with the "
            f"dynamic input shape {inputs[0].shape}. Rebuild it with all sizes in keras.Input."
        )
    shape = outputs[0].shape
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise InputError(
            f"`{role}` must be a single-label classifier with outputs of shape (batch, classes) "
            f"and at least 2 classes. Received: {role}={model.name!r} with outputs of shape "
            f"{shape}."
        )
    loss = getattr(model, "loss", None)
    name = getattr(loss, "name", getattr(loss, "__name__", loss)) or ""
    if str(name) in _OTHER_LOSSES:
        raise InputError(
            f"`{role}` must be a single-label classifier. Received: {role}={model.name!r} compiled "
            f"with the loss {name!r} of a regressor or a multi-label classifier."
        )


_OTHER_LOSSES = {
    "mse", "mean_squared_error", "mae", "mean_absolute_error", "huber", "huber_loss", "log_cosh",
    "binary_crossentropy", "binary_focal_crossentropy",
}  # fmt: skip


def _check_range(input_range: Any) -> tuple[float, float] | None:
    if input_range is None:
        return None
    try:
        low, high = (float(value) for value in input_range)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`input_range` must be two numbers (low, high). Received: input_range={input_range!r}."
        ) from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            "`input_range` must be two finite numbers, low < high. "
            f"Received: input_range={tuple(input_range)}."
        )
    return low, high


def _find_range(model: keras.Model) -> tuple[float, float]:
    """Infer the pixel range from the preprocessing layers of a model."""
    for layer in graph.inline(model, graph.share_layer).layers:
        if isinstance(layer, keras.layers.Rescaling):
            # 1/255 and 1/127.5 are for pixels in [0, 255]; scales near 1 are for pixels in [0, 1].
            return (0.0, 255.0) if float(np.max(np.abs(layer.scale))) < 0.1 else (0.0, 1.0)
        if isinstance(layer, keras.layers.Normalization):
            return (0.0, 255.0) if float(np.max(np.abs(np.asarray(layer.mean)))) > 2 else (0.0, 1.0)
    warnings.warn(
        f"The pixel range of teacher {model.name!r} is unknown, so [0, 1] is assumed. If the "
        "teacher was trained on another range, set `input_range`.",
        stacklevel=3,
    )
    return 0.0, 1.0
