"""A view of a classifier that ends in its logits and gives access to hidden tensors."""

import dataclasses
import itertools
from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import maker_of, nodes_of
from keras_zskd.models.graph import (
    Operation,
    as_model,
    inline,
    name_in_keras,
    replayed,
    share_layer,
)
from keras_zskd.models.probabilities import LogitsOfProbabilities, hidden_activation


@dataclasses.dataclass(frozen=True)
class LogitsView:
    """A view of a classifier that ends in its logits.

    Attributes:
        model: Flat Functional model from pixels `(N, ...)` to logits `(N, K)` with shared layers.
        is_single: Whether the original model has a single output, for two classes.
        ends_in: Output of the original model: "logits", or the activation of `softmax`.
        softmax: The layer or operation that applies the final softmax, or another activation that
            is removed (`REMOVED`), or None.
        head: The Dense or 1x1 convolution whose kernel columns are the class templates, or None.
            It has one column if the model has one output.
        features: The input tensor of `head` in `model`, or None.
        batch_norms: Each BatchNormalization layer with its input tensor in `model`.
    """

    model: keras.Model
    is_single: bool
    ends_in: str
    softmax: Operation | None
    head: keras.Layer | None
    features: Any
    batch_norms: tuple[tuple[keras.Layer, Any], ...]

    @property
    def is_multi_label(self) -> bool:
        """Whether the original model has a sigmoid for each of several labels."""
        return self.ends_in == "sigmoid" and not self.is_single


def logits_view(model: keras.Model) -> LogitsView:
    """Create a view of a classifier that ends in its logits and shares its layers.

    The final softmax may be the activation of the last layer, a separate layer, an operation, or
    inside a nested model. It may be followed by a reshape, a dropout or a cast. The same holds for
    a log-softmax, a ReLU, or the sigmoids of a multi-label classifier. A single output, a logit `z`
    or its sigmoid, is class 1 of two classes with logits `(-z / 2, z / 2)`.

    Probabilities whose softmax or sigmoid is not found, such as the average of several models, are
    recognized by their values for random inputs (`hidden_activation`). The view ends in their
    logits.

    Args:
        model: A Functional or Sequential classifier with one input and one output of shape
            `(N, K)`.

    Returns:
        A `LogitsView`. Its layers are those of `model`: training one trains the other.

    Raises:
        InputError: If the model ends in another activation.
    """
    flat = inline(model, share_layer)
    is_single = flat.outputs[0].shape[-1] == 1
    softmax, head = _walk_back(flat.outputs[0])
    hidden = hidden_activation(flat) if softmax is None and head is None else None
    tapped: list[tuple[Operation, Any]] = []
    # All other calls of the layer lead to this one, so it is the last.
    final, numbers = num_calls(flat, softmax), itertools.count(1)

    def call(layer: Operation, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else next(iter(kwargs.values()), None)
        if layer is head or isinstance(layer, keras.layers.BatchNormalization):
            tapped.append((layer, x))
        if softmax is None or layer is not softmax or next(numbers) < final:
            return layer(*args, **kwargs)
        if _has_arithmetic(layer):
            return _WithoutActivation(layer, name=f"{layer.name}_logits")(*args, **kwargs)
        return x

    def logits(x: Any) -> Any:
        found = replayed(flat, x, share_layer, call)
        if hidden is not None:
            return LogitsOfProbabilities(hidden)(found)
        return TwoLogits()(found) if is_single else found

    view = as_model(model, logits)
    return LogitsView(
        model=view,
        is_single=is_single,
        ends_in=(hidden or "logits") if softmax is None else str(_activation_name(softmax)),
        softmax=softmax,
        head=head,
        features=next((x for layer, x in reversed(tapped) if layer is head), None),
        batch_norms=tuple(
            (layer, x) for layer, x in tapped if isinstance(layer, keras.layers.BatchNormalization)
        ),
    )


def num_calls(model: keras.Model, layer: Operation) -> int:
    """Return how often a layer or operation is called in the graph of a model."""
    return sum(node.operation is layer for node in nodes_of(model))


@keras.saving.register_keras_serializable(package="keras_zskd")
class TwoLogits(keras.layers.Layer):
    """Converts the only logit `z` `(N, 1)` of a model to logits `(-z / 2, z / 2)` of two classes.

    Their softmax is `(1 - sigmoid(z), sigmoid(z))`.
    """

    def call(self, z: Any) -> Any:
        """Return `(N, 2)`."""
        return keras.ops.concatenate([-0.5 * z, 0.5 * z], axis=-1)


# Final activations that a view leaves out. Removing a log-softmax does not change the softmax of
# the outputs, and removing a ReLU gives gradients to logits below 0.
REMOVED = ("softmax", "log_softmax", "relu", "sigmoid")
# Layers that keep the order and the meaning of the class scores. The search for the softmax and the
# class templates continues at their inputs.
_RESHAPING = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Identity,
)
_POOLING = (
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
)
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
# Activations among the operations of keras.ops and the layers without an `activation`. The classes
# of operations have no public name, so they are identified by their private name in Keras.
_ACTIVATIONS = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "log_sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "ReLU": "relu",
    "LeakyReLU": "leaky_relu",
    "Softplus": "softplus",
}


def _walk_back(output: Any) -> tuple[Operation | None, keras.Layer | None]:
    """Find the operation that applies the final softmax and the layer with the class templates."""
    softmax = None
    is_pooled = False
    tensor = output
    while True:
        layer, node = maker_of(tensor)
        activation = _activation_name(layer)
        if activation in REMOVED and softmax is None and not is_pooled:
            softmax = layer
        elif activation not in (None, "linear"):
            if softmax is None:
                raise InputError(
                    "`model` must be a classifier that ends in logits, softmax or sigmoid. "
                    f"Received: a model that ends in the activation {activation!r} (layer "
                    f"{layer.name!r}{', followed by an average' if is_pooled else ''})."
                )
            return softmax, None
        if isinstance(layer, keras.layers.Dense) or (
            isinstance(layer, _CONVOLUTIONS) and all(size == 1 for size in layer.kernel_size)
        ):
            return softmax, layer
        kind = name_in_keras(type(layer))  # A custom subclass may do more.
        is_pooled = is_pooled or isinstance(layer, _POOLING)
        is_passed = (
            (kind is not None and isinstance(layer, (*_RESHAPING, *_POOLING)))
            or kind == "Cast"
            or isinstance(layer, TwoLogits)
            or (activation is not None and not _has_arithmetic(layer))
        )
        if not is_passed or node is None or not node.input_tensors:
            return softmax, None
        tensor = node.input_tensors[0]


def _activation_name(layer: Operation) -> str | None:
    """Return the name of the activation of a layer or operation, or None if it has none.

    The name of a function outside of Keras includes its module, so that a custom function called
    "relu" is not mistaken for the one in Keras.
    """
    kind = name_in_keras(type(layer))
    if kind in _ACTIVATIONS:
        return _ACTIVATIONS[kind]
    activation = getattr(layer, "activation", None)
    if activation is None:
        return None
    named = activation if hasattr(activation, "__name__") else type(activation)
    name = name_in_keras(named)
    if name is None:
        return f"{getattr(named, '__module__', None)}.{named.__name__}"
    return _ACTIVATIONS.get(name, name)  # The activation may be a layer.


def _has_arithmetic(layer: Operation) -> bool:
    """Whether a layer may do more than apply its activation."""
    is_activation = name_in_keras(type(layer)) in _ACTIVATIONS
    return not is_activation and type(layer) is not keras.layers.Activation


@keras.saving.register_keras_serializable(package="keras_zskd")
class _WithoutActivation(keras.layers.Layer):
    """Calls a layer without its activation, with the weights of the layer."""

    def __init__(self, layer: keras.Layer, **kwargs: Any):
        super().__init__(dtype=layer.dtype_policy, **kwargs)
        self.layer = layer

    def get_config(self) -> dict[str, Any]:
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "_WithoutActivation":
        layer = keras.saving.deserialize_keras_object(config["layer"])
        own = {key: value for key, value in config.items() if key not in ("layer", "dtype")}
        return cls(layer, **own)

    def call(self, x: Any) -> Any:
        # Replaced only while this call is traced. This works for Dense, convolutions and any custom
        # layer with an `activation` as in Keras, without repeating their arithmetic.
        activation, self.layer.activation = self.layer.activation, keras.activations.linear
        try:
            return self.layer(x)
        finally:
            self.layer.activation = activation
