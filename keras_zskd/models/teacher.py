"""`Teacher`: a Keras classifier with access to its logits, features and class templates."""

import copy
import dataclasses
import os
import warnings
from collections.abc import Sequence
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.input_range import Range, as_json, read_range
from keras_zskd.models import graph
from keras_zskd.models.classifier import check_classifier, check_layers, is_binary_loss, loss_name
from keras_zskd.models.ensemble import mean_of_models
from keras_zskd.models.input_shape import check_input_shape, with_input_shape
from keras_zskd.models.layout import channels_last, is_channels_first
from keras_zskd.models.logits import LogitsView, logits_view, num_calls
from keras_zskd.models.pixel_range import find_pixel_range
from keras_zskd.models.saved_model import is_saved_model, read_saved_model


class Teacher:
    """A frozen, private float32 copy of a trained classifier that always returns logits.

    The original model is never changed, neither its `trainable` flags nor the statistics of its
    batch normalization layers. Mixed-precision models are copied in float32: synthesis needs the
    gradients with respect to the pixels, which are lost in float16.

    Args:
        model: A built Functional or Sequential classifier with one input and one output. The output
            has shape `(N, K)`, `K >= 2`, and is logits, a softmax, a log-softmax, or logits
            followed by a ReLU, which is left out. Or it has shape `(N, 1)` and is the logit or the
            sigmoid of the second of two classes. A multi-label classifier has K sigmoids, or K
            logits and a binary cross-entropy as its loss. A subclassed model is accepted if its
            `call` consists of Keras layers. In place of a model: the path of a `.keras` or `.h5`
            file; with `safe_mode=False`, a SavedModel directory, which has no class templates and
            no layers that `slim` could narrow; or a `Teacher`, whose original model is used. A list
            of these with the same inputs and classes, such as the models of federated clients, is
            one teacher with the mean of their probabilities and without class templates.
        input_range: `(low, high)`, range of the inputs that the model was trained on. For tables
            and sensors, it can be given per feature: as a tuple of two arrays that are broadcast to
            the input shape; as a list with one entry for each feature of the last axis,
            `[low, high]` or `{"values": [0, 1]}` for a categorical feature; or as a JSON file with
            such a list. By default, it is inferred from the model (`find_pixel_range`): from its
            preprocessing, its first batch normalization, or its predictions. If these do not
            decide, it is `(0, 1)`, with a warning.
        safe_mode: As in Keras: refuse files with Lambda layers, and SavedModels, since both contain
            code that would run.
        input_shape: Shape of one input, for a model that takes inputs of any size.

    Attributes:
        original: The original model. For several models, the model that averages them.
        prototype: The model that `slim` narrows to create students: the original, or the first of
            several models.
        model: Flat Functional model from pixels `(N, *input_shape)` to logits `(N, K)`, not
            trainable.
        input_shape: Shape of one input, without the batch axis.
        input_range: `(low, high)`, range of the inputs: two numbers, or a `FeatureRange` of two arrays.
        range_evidence: How the range is known: "given", or the evidence found in the model.
        num_classes: Number of classes or labels `K`.
        ends_in: Output of the original model: "logits", "softmax", "log_softmax", "relu", or
            "sigmoid".
        is_multi_label: Whether any number of the labels may be present in one input.

    Raises:
        InputError: If the model cannot be used as a teacher. The message states the reason.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(3, activation="softmax")])
        >>> teacher = Teacher(model, input_range=(0, 1))
        >>> teacher.num_classes, teacher.ends_in, teacher.templates.shape
        (3, 'softmax', (64, 3))
    """

    input_range: Range
    range_evidence: str
    _loss: str

    def __init__(
        self,
        model: "keras.Model | str | os.PathLike[str] | Teacher | Sequence[Any]",
        input_range: Any = None,
        safe_mode: bool = True,
        input_shape: Sequence[int] | None = None,
    ):
        input_shape = check_input_shape(input_shape)
        members: list[Teacher] = []
        if isinstance(model, list | tuple):
            members = [Teacher(member, input_range, safe_mode, input_shape) for member in model]
            model, input_range = _mean_of(members), members[0].input_range
        prototype: keras.Model | None = members[0].original if members else None
        loss = model._loss if isinstance(model, Teacher) else None
        if isinstance(model, Teacher):
            input_range = model.input_range if input_range is None else input_range
            prototype = model.prototype
            model = model.original
        if isinstance(model, str | os.PathLike):
            model = _read(model, safe_mode, input_shape)
        self.safe_mode = safe_mode
        # The conversions below return new models, which are not compiled.
        self._loss = loss_name(model) if loss is None else loss
        if isinstance(model, keras.Model) and model.built:
            check_layers(model, role="teacher")
            model = graph.with_graph(model)
            if input_shape is not None and len(model.inputs) == 1:
                model = with_input_shape(model, input_shape)
        check_classifier(model, "teacher", self._loss)
        if is_channels_first(model):
            model = channels_last(model)
            warnings.warn(
                f"Teacher {model.name!r} takes images with the channels first. It is converted: inputs "
                "and students have the channels last.",
                stacklevel=2,
            )
        flat = graph.typed_copy(model, "float32")
        if input_range is not None:
            input_range = read_range(input_range, tuple(flat.input_shape[1:]))
        self._view = logits_view(flat)
        softmax: Any = self._view.softmax
        if hasattr(softmax, "activation") and num_calls(flat, softmax) == 1:
            # Safe to change in a private copy, and keeps the model serializable.
            softmax.activation = keras.activations.linear
            self._view = dataclasses.replace(logits_view(flat), ends_in=self._view.ends_in)
        _warn_about_the_end(model, self._view.ends_in, self._loss)
        self.input_range, self.range_evidence = _range_of(self._view, input_range)
        self.model = self._view.model
        self.model.trainable = False
        original: Any = model
        self.original: keras.Model = original
        self.prototype: keras.Model = prototype or original
        self.name = original.name
        self.ends_in = self._view.ends_in
        has_labels = (
            self.ends_in == "logits" and is_binary_loss(self._loss) and not self._view.is_single
        )
        self.is_multi_label: bool = self._view.is_multi_label or has_labels
        self.input_shape: tuple[int, ...] = tuple(self.model.input_shape[1:])
        self.num_classes: int = int(self.model.output_shape[-1])
        self.num_parameters: int = int(original.count_params())
        self.batch_norms = tuple(layer for layer, _ in self._view.batch_norms)
        self._check_weights()

    def __call__(self, x: Any) -> Any:
        """Compute logits `(N, K)` float32 from pixels `(N, *input_shape)`, in inference mode."""
        return tf.cast(self.model(x, training=False), tf.float32)

    @property
    def score(self) -> str:
        """The score against labels: "accuracy", or "mean_average_precision" if multi-label."""
        return "mean_average_precision" if self.is_multi_label else "accuracy"

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
        return _of_classes(kernel.reshape(-1, kernel.shape[-1]))

    @property
    def offsets(self) -> np.ndarray:
        """Biases `(K,)` that are added to the products with the class templates."""
        _ = self.templates  # Raises an InputError if there are none.
        bias = getattr(self._view.head, "bias", None)
        if bias is None:
            return np.zeros(self.num_classes, np.float32)
        with tf.init_scope():
            return _of_classes(np.asarray(bias))

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
        other._view = logits_view(graph.typed_copy(self.model, dtype))
        other.model = other._view.model
        other.model.trainable = False
        other.batch_norms = tuple(layer for layer, _ in other._view.batch_norms)
        return other

    def tapped(self, tensors: Any) -> keras.Model:
        """Create a model with the inputs of `model` that outputs the given tensors of its graph."""
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
            "input_range": as_json(self.input_range),
            "num_classes": self.num_classes,
            "ends_in": self.ends_in,
            **({"multi_label": True} if self.is_multi_label else {}),
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


def _read(
    path: str | os.PathLike[str], safe_mode: bool, input_shape: tuple[int, ...] | None
) -> keras.Model:
    if not is_saved_model(path):
        return load_model(path, safe_mode)
    if safe_mode:
        raise invalid(
            "path",
            "be a .keras or .h5 file: a SavedModel is a program, which can read and write files",
            os.fspath(path),
            fix="If you trust its author, set `safe_mode` to False.",
        )
    return read_saved_model(path, input_shape)


def restored_teacher(model: keras.Model, input_range: Range, is_multi_label: bool) -> Teacher:
    """Return a teacher from the `model` of another one, for example after it was saved.

    That model ends in logits, which do not show whether it is multi-label.
    """
    teacher = Teacher(model, input_range)
    teacher.is_multi_label = is_multi_label
    return teacher


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
    _check_holds_model(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # Load it compiled, since the loss identifies a regressor.
                return keras.saving.load_model(path, safe_mode=safe_mode)
            except Exception:  # A custom loss, or an optimizer of another version.
                return keras.saving.load_model(path, compile=False, safe_mode=safe_mode)
    except Exception as error:  # Keras raises many types of errors for unreadable files.
        # Keras nests its messages; the innermost is the reason.
        innermost = str(error).rpartition("Exception encountered:")[2].strip()
        reason = innermost.splitlines()[0] if innermost else type(error).__name__
        if "function identifier: {'value':" in reason:
            raise invalid(
                "path",
                "be a model without a lambda as an activation, which cannot be copied",
                path,
                fix="Use a named function, and save the model again.",
            ) from error
        if "deserialization of a `TFSMLayer`" in reason:
            raise invalid(
                "path",
                "be a model without a TFSMLayer, which holds a program",
                path,
                fix="If you trust its author, set `safe_mode` to False.",
            ) from error
        if "lambda" in str(error).lower():
            raise invalid(
                "path",
                "be a model without Lambda layers, which contain code",
                path,
                fix="If you trust its author, set `safe_mode` to False.",
            ) from error
        raise InputError(
            "`path` must be a .keras or .h5 file written by model.save(). Received: "
            f"path={path!r}, which could not be read as a Keras model. Error of Keras: "
            f"{reason[:300]}"
        ) from error


def _check_holds_model(path: str) -> None:
    """Raise an error for files that hold the weights or the layers of a model, but not both."""
    if is_saved_model(path):
        raise InputError(
            "`path` must be a .keras or .h5 file. Received: "
            f"path={path!r}, a SavedModel, which can only be a teacher: it has no layers to train."
        )
    is_only_weights = path.endswith((".weights.h5", ".index", ".ckpt")) or (
        h5py.is_hdf5(path) and "model_config" not in _attributes(path)
    )
    if is_only_weights or path.endswith(".json"):
        what = "weights without a model" if is_only_weights else "a model without weights"
        raise InputError(
            f"`path` must be a .keras or .h5 file of a whole model. Received: path={path!r}, which "
            f"holds {what}. Build the model in Python, call its load_weights(), and save it "
            "with model.save('teacher.keras')."
        )


def _attributes(path: str) -> set[str]:
    with h5py.File(path, "r") as file:
        return set(file.attrs)


def _mean_of(members: list[Teacher]) -> keras.Model:
    if not members:
        raise InputError("`teacher` must be one model or several. Received: an empty list.")
    if any(member.is_multi_label for member in members):
        raise InputError(
            "`teacher` must be single-label classifiers where it is several models. Received: a "
            "multi-label classifier among them. Distill one of them."
        )
    ranges = [as_json(each) for each in dict.fromkeys(member.input_range for member in members)]
    if len(ranges) > 1:
        raise InputError(
            f"`teacher` must be models with one input range. Received: {ranges}. Set `input_range`, or "
            "put a Rescaling layer before some of them."
        )
    return mean_of_models([member.model for member in members])


def _of_classes(weights: np.ndarray) -> np.ndarray:
    """Convert weights `(..., 1)` of a single logit to those of two, as `TwoLogits` does."""
    is_single = weights.shape[-1] == 1
    return np.concatenate([-0.5 * weights, 0.5 * weights], axis=-1) if is_single else weights


def _warn_about_the_end(model: keras.Model, ends_in: str, loss: str) -> None:
    if ends_in == "relu":
        warnings.warn(
            f"The logits of teacher {model.name!r} pass a ReLU, which hides those below 0. It is left "
            "out inside; students keep it.",
            stacklevel=3,
        )
    if ends_in == "logits" and model.outputs[0].shape[-1] == 1 and not loss:
        warnings.warn(
            f"Teacher {model.name!r} has a single output without an activation. It is taken for the "
            "logit of the second of two classes. A regressor cannot be a teacher.",
            stacklevel=3,
        )


def _range_of(view: LogitsView, given: Range | None) -> tuple[Range, str]:
    """Return the pixel range, and how it is known."""
    if given is not None:
        return given, "given"
    found = find_pixel_range(view)
    if found.input_range is not None:
        return found.input_range, found.evidence
    warnings.warn(
        f"The pixel range of teacher {view.model.name!r} is unknown, so [0, 1] is assumed: "
        f"{found.evidence}. If the teacher was trained on another range, set `input_range`.",
        stacklevel=3,
    )
    return (0.0, 1.0), f"assumed, since {found.evidence}"
