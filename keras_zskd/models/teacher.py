"""The teacher: any supported Keras classifier, seen as logits, features and class templates."""

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
    """A frozen, private, float32 copy of a trained classifier that always speaks logits.

    The caller's model is copied, never changed: no `trainable` flag is touched, no batch-normalisation
    statistic moves. Mixed-precision models are copied at float32, because the gradient by the pixels
    is what synthesis lives on and float16 loses it.

    Args:
        model: A built Functional or Sequential classifier with one input and one output of shape
            `(N, K)`, `K >= 2`, ending in logits or in softmax; or the path of a `.keras` or `.h5`
            file that holds one; or a `Teacher`, which is copied by reference.
        input_range: `(low, high)` of the pixels that the model was trained on. By default it is read
            from a Rescaling or Normalization layer of the model, else `(0, 1)` with a warning.
        safe_mode: As in Keras: refuse a file with Lambda layers, that is, with code that would run when
            it is loaded.

    Attributes:
        original: The caller's model, as it was handed over.
        model: Flat Functional model, pixels `(N, *input_shape)` to logits `(N, K)`, not trainable.
        input_shape: Shape of one input, without the batch.
        input_range: `(low, high)` of the pixels.
        num_classes: K.
        ends_in: "logits" or "softmax": what the caller's model returns.

    Raises:
        InputError: For anything that cannot serve as a teacher, in a sentence that says why.

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
            # The copies are ours: the activation can go for good, and the model stays serialisable.
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
        """Logits `(N, K)` float32 of pixels `(N, *input_shape)`, in inference mode."""
        return tf.cast(self.model(x, training=False), tf.float32)

    @property
    def templates(self) -> np.ndarray:
        """Class templates `(D, K)`: the columns `w_k` of the last kernel (paper, section 3.2)."""
        if self._view.head is None:
            raise InputError(
                f"Teacher {self.name!r} has no class templates: expected a Dense layer or a 1x1 "
                "convolution right before the logits. Use one-hot targets, which need none."
            )
        with tf.init_scope():  # Also while a tf.function is traced.
            kernel = np.asarray(self._view.head.kernel)
        return kernel.reshape(-1, kernel.shape[-1])

    @property
    def penultimate(self) -> Any:
        """Symbolic tensor of the features that the class templates multiply."""
        _ = self.templates  # Says in a sentence where there are none.
        return self._view.features

    def at_precision(self, dtype: str) -> "Teacher":
        """The same teacher with a `model` that computes at another precision.

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
        """A model that returns inner tensors of `model` beside its logits."""
        return keras.Model(self.model.inputs[0], tensors)

    @property
    def batch_norm_inputs(self) -> list[Any]:
        """The symbolic tensors that feed the batch normalisations, in order."""
        return [tensor for _, tensor in self._view.batch_norms]

    def describe(self) -> dict[str, Any]:
        """What the teacher is and what can be done with it, as plain JSON types."""
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
                        f"A teacher with NaN or infinite weights was received (layer "
                        f"{layer.name!r}, {variable.name}); expected a trained model, so load a "
                        "checkpoint from before its training diverged."
                    )


def load_model(path: str | os.PathLike[str], safe_mode: bool = True) -> keras.Model:
    """Load a Keras model, or say in one sentence why not.

    Args:
        path: A `.keras` or legacy `.h5` file.
        safe_mode: As in Keras: refuse Lambda layers, that is, code inside the file.

    Raises:
        InputError: If there is no such file, it holds no Keras model, or it is unsafe to load.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise InputError(f"Model file {path!r} was received, which does not exist; check the path.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # Compiled, because its loss tells a regressor.
                return keras.saving.load_model(path, safe_mode=safe_mode)
            except Exception:  # Custom losses, or an optimizer of another version.
                return keras.saving.load_model(path, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras raises many kinds for what is, to the user, one thing.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if "lambda" in str(error).lower():
            raise InputError(
                f"Model {path!r} holds a Lambda layer, that is Python code that would run here; if "
                "you trust its author, pass --nosafe_mode (in Python: safe_mode=False)."
            ) from error
        raise InputError(
            f"{path!r} could not be read as a Keras model; expected a .keras or .h5 file written by "
            f"model.save(). Keras says: {reason[:300]}"
        ) from error


def check_classifier(model: Any, role: str) -> None:
    """Refuse what is no single-input, single-output Keras classifier with a graph.

    Args:
        model: What was received.
        role: "teacher" or "student", for the sentence.

    Raises:
        InputError: With the reason and the mend.
    """
    if not isinstance(model, keras.Model):
        raise InputError(
            f"A {type(model).__name__} was received as {role}; expected a Keras model or the path "
            "of a .keras file."
        )
    if not model.built:
        raise InputError(
            f"The {role} {model.name!r} is not built; expected a model with a known input shape, so "
            "start it with keras.Input(shape)."
        )
    try:
        inputs, outputs = model.inputs, model.outputs
    except (AttributeError, ValueError):
        inputs = outputs = None
    if not inputs or not outputs:
        raise InputError(
            f"The {role} {model.name!r} is a subclassed model without a graph; expected a Functional "
            "or Sequential model, so wrap it: keras.Model(inputs, model(inputs))."
        )
    for tensors, what in ((inputs, "inputs"), (outputs, "outputs")):
        if len(tensors) != 1:
            raise InputError(
                f"The {role} {model.name!r} has {len(tensors)} {what}; expected one, so make a "
                f"keras.Model that keeps a single one of them."
            )
    if None in inputs[0].shape[1:]:
        raise InputError(
            f"The {role} {model.name!r} has the dynamic input shape {inputs[0].shape}; expected "
            "fixed sizes, so rebuild it with keras.Input(shape) that names every size."
        )
    shape = outputs[0].shape
    if len(shape) != 2 or shape[-1] is None or shape[-1] < 2:
        raise InputError(
            f"The {role} {model.name!r} has outputs of shape {shape}; expected one score per class, "
            "(batch, classes) with at least 2 classes: a regressor or a one-unit output is no "
            "single-label classifier."
        )
    loss = getattr(model, "loss", None)
    name = getattr(loss, "name", getattr(loss, "__name__", loss)) or ""
    if str(name) in _OTHER_LOSSES:
        raise InputError(
            f"The {role} {model.name!r} is compiled with the loss {name!r} of a regressor or of a "
            "multi-label classifier; expected a single-label classifier."
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
            f"input_range={input_range!r} was received; expected two numbers (low, high)."
        ) from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"input_range={tuple(input_range)} was received; expected two finite numbers, low < high."
        )
    return low, high


def _find_range(model: keras.Model) -> tuple[float, float]:
    """The pixel range that a model's own first layers give away."""
    for layer in graph.inline(model, graph.share_layer).layers:
        if isinstance(layer, keras.layers.Rescaling):
            # 1/255 and 1/127.5 are ways of saying "0 to 255"; anything near 1 keeps [0, 1].
            return (0.0, 255.0) if float(np.max(np.abs(layer.scale))) < 0.1 else (0.0, 1.0)
        if isinstance(layer, keras.layers.Normalization):
            return (0.0, 255.0) if float(np.max(np.abs(np.asarray(layer.mean)))) > 2 else (0.0, 1.0)
    warnings.warn(
        f"The pixel range of teacher {model.name!r} is not known, so [0, 1] is assumed; if it was "
        "trained on other pixels, say so with input_range (on the command line --input_range).",
        stacklevel=3,
    )
    return 0.0, 1.0
