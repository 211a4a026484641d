"""Transformations of Keras graphs: inline nested models, remove the final softmax, tap tensors.

Each transformation rebuilds the graph node by node, as Keras does when it clones a model, and
replaces some of the nodes. Shared layers, residual additions and `keras.ops` nodes are kept.
"""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import maker_of, replay

Operation = Any  # keras.layers.Layer or an operation of keras.ops


def clone_layer(layer: Operation) -> Operation:
    """Create a newly initialized copy of a layer or operation."""
    return _from_config(layer, layer.get_config())


def share_layer(layer: Operation) -> Operation:
    """Return the layer itself: the new graph uses and trains the same weights."""
    return layer


def inline(
    model: keras.Model, copy_layer: Callable[[Operation], Operation] = clone_layer
) -> keras.Model:
    """Create a flat Functional model that is equivalent to `model`, without nested models.

    Args:
        model: A Functional or Sequential model with one input and one output. Nested models are
            inlined.
        copy_layer: Function that returns the replacement of a layer. It is called once per layer,
            so shared layers stay shared. The default makes a newly initialized copy; `share_layer`
            uses the same layers and weights.

    Returns:
        A Functional model with a floating-point input of the same shape. `model` is not changed.

    Raises:
        InputError: If two layers have the same name, which is not allowed in a flat model.
    """
    copies: dict[int, Operation] = {}

    def copy_once(layer: Operation) -> Operation:
        if id(layer) not in copies:
            copies[id(layer)] = copy_layer(layer)
        return copies[id(layer)]

    return _as_model(
        model, lambda x: _replay(model, x, copy_once, lambda layer, *a, **k: layer(*a, **k))
    )


def fingerprint(model: keras.Model) -> str:
    """Compute a short hash of the layers and weights of a model and its nested models.

    It depends on the configuration, the order and the weights of the layers. Names are left out,
    since Keras numbers layers per process.
    """
    digest = hashlib.sha256()
    for layer in inline(model, share_layer).layers:
        try:
            config = _without_names(layer.get_config())
        except NotImplementedError:  # A custom layer that cannot be saved.
            config = {}
        line = json.dumps([type(layer).__name__, config], sort_keys=True, default=str)
        digest.update(line.encode())
        for value in layer.get_weights():
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def _without_names(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _without_names(value) for key, value in config.items() if key != "name"}
    return [_without_names(value) for value in config] if isinstance(config, list) else config


def typed_copy(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """Create a flat copy of a model, with its own weights and the same precision in all layers.

    Args:
        model: As for `inline`. Layers with the same name in different nested models are renamed.
        dtype: A Keras dtype policy: "float32", or "mixed_bfloat16" with float32 weights. The output
            layer always uses float32: logits are compared, and divided by temperatures.
    """
    last: Operation = model
    while isinstance(last, keras.Model):
        last, _ = maker_of(last.outputs[0])
    taken: set[str] = set()
    copies: list[tuple[keras.Layer, keras.Layer]] = []

    def copy(layer: Operation) -> Operation:
        config = layer.get_config()
        if not isinstance(layer, keras.Layer):
            return _from_config(layer, config)
        name, number = layer.name, 1
        while name in taken:
            name, number = f"{layer.name}_{number}", number + 1
        taken.add(name)
        precision = "float32" if layer is last else dtype
        config = {**config, "name": name, **({"dtype": precision} if "dtype" in config else {})}
        duplicate = _from_config(layer, config)
        copies.append((layer, duplicate))
        return duplicate

    flat = inline(model, copy)
    for layer, duplicate in copies:
        duplicate.set_weights(layer.get_weights())
        if hasattr(duplicate, "finalize_state"):  # Normalization computes tensors from its weights.
            duplicate.finalize_state()
    return flat


@dataclasses.dataclass(frozen=True)
class LogitsView:
    """A classifier viewed from its logits.

    Attributes:
        model: Flat Functional model from pixels `(N, ...)` to logits `(N, K)` with shared layers.
        ends_in: Output of the original model: "softmax" or "logits".
        softmax: The layer or operation that applies the final softmax, or None.
        head: The Dense or 1x1 convolution whose kernel columns are the class templates, or None.
        features: The input tensor of `head` in `model`, or None.
        batch_norms: Each BatchNormalization layer with its input tensor in `model`.
    """

    model: keras.Model
    ends_in: str
    softmax: Operation | None
    head: keras.Layer | None
    features: Any
    batch_norms: tuple[tuple[keras.Layer, Any], ...]


def logits_view(model: keras.Model) -> LogitsView:
    """View a classifier from its logits, with shared layers.

    A final softmax may be the activation of the last layer, a separate layer, an operation, or in a
    nested model. It may be followed by a reshape, a dropout or a cast.

    Args:
        model: A Functional or Sequential classifier with one input and one output of shape
            `(N, K)`.

    Returns:
        A `LogitsView`. Its layers are those of `model`: training one trains the other.

    Raises:
        InputError: If the model ends in an activation other than softmax.
    """
    flat = inline(model, share_layer)
    softmax, head = _walk_back(flat.outputs[0])
    tapped: list[tuple[Operation, Any]] = []

    def call(layer: Operation, *args: Any, **kwargs: Any) -> Any:
        if layer is head or isinstance(layer, keras.layers.BatchNormalization):
            tapped.append((layer, args[0]))
        if softmax is None or layer is not softmax:
            return layer(*args, **kwargs)
        if _has_arithmetic(layer):
            return _WithoutActivation(layer, name=f"{layer.name}_logits")(*args, **kwargs)
        return args[0]

    view = _as_model(model, lambda x: _replay(flat, x, share_layer, call))
    return LogitsView(
        model=view,
        ends_in="logits" if softmax is None else "softmax",
        softmax=softmax,
        head=head,
        features=next((x for layer, x in tapped if layer is head), None),
        batch_norms=tuple(
            (layer, x) for layer, x in tapped if isinstance(layer, keras.layers.BatchNormalization)
        ),
    )


def _as_model(model: keras.Model, build: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input(batch_shape=model.inputs[0].shape, dtype="float32")
    try:
        return keras.Model(inputs, build(inputs), name=model.name)
    except ValueError as error:
        if "unique" in str(error):
            raise InputError(
                f"`model` must have unique layer names. Received: model={model.name!r} with two "
                "layers of the same name in nested models. Rename one of them. Error of Keras: "
                f"{error}"
            ) from error
        raise


def _replay(
    model: keras.Model,
    x: Any,
    copy_layer: Callable[[Operation], Operation],
    call: Callable[..., Any],
) -> Any:
    """Run the graph of `model` on the symbolic tensor `x`, with nested models inlined."""
    # Makes a Functional model of a Sequential model.
    plain = keras.Model(model.inputs, model.outputs)

    def copy_or_open(layer: Operation) -> Operation:
        return layer if isinstance(layer, keras.Model) else copy_layer(layer)

    def call_or_open(layer: Operation, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.Model):
            return _replay(layer, args[0], copy_layer, call)
        return call(layer, *args, **kwargs)

    return replay(plain, x, copy_or_open, call_or_open)[0]


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
        if activation == "softmax" and softmax is None and not is_pooled:
            softmax = layer
        elif activation not in (None, "linear"):
            if softmax is None:
                raise InputError(
                    "`model` must be a single-label classifier that ends in logits or softmax. "
                    f"Received: a model that ends in the activation {activation!r} (layer "
                    f"{layer.name!r}{', followed by an average' if is_pooled else ''})."
                )
            return softmax, None
        if isinstance(layer, keras.layers.Dense) or (
            isinstance(layer, _CONVOLUTIONS) and all(size == 1 for size in layer.kernel_size)
        ):
            return softmax, layer
        kind = _name_in_keras(type(layer))  # A custom subclass may do more.
        is_pooled = is_pooled or isinstance(layer, _POOLING)
        is_passed = (
            (kind is not None and isinstance(layer, (*_RESHAPING, *_POOLING)))
            or kind == "Cast"
            or (activation is not None and not _has_arithmetic(layer))
        )
        if not is_passed or node is None or not node.input_tensors:
            return softmax, None
        tensor = node.input_tensors[0]


def _activation_name(layer: Operation) -> str | None:
    """Return the name of the activation of a layer or operation, or None if it has none.

    The name of a function outside of Keras includes its module, so that a custom function called
    "relu" is not mistaken for the one of Keras.
    """
    kind = _name_in_keras(type(layer))
    if kind in _ACTIVATIONS:
        return _ACTIVATIONS[kind]
    activation = getattr(layer, "activation", None)
    if activation is None:
        return None
    named = activation if hasattr(activation, "__name__") else type(activation)
    name = _name_in_keras(named)
    if name is None:
        return f"{getattr(named, '__module__', None)}.{named.__name__}"
    return _ACTIVATIONS.get(name, name)  # The activation may be a layer.


def _name_in_keras(thing: Any) -> str | None:
    """Return the name of a class or function of Keras, or None for any other."""
    module = getattr(thing, "__module__", None) or ""
    return thing.__name__ if module.split(".")[0] == "keras" else None


def _has_arithmetic(layer: Operation) -> bool:
    """Whether a layer may do more than apply its activation."""
    is_activation = _name_in_keras(type(layer)) in _ACTIVATIONS
    return not is_activation and type(layer) is not keras.layers.Activation


def _from_config(layer: Operation, config: dict[str, Any]) -> Operation:
    # Keras serializes a custom function called "relu" as "relu", and loads its own "relu" for it.
    own = {
        name: function
        for name in config
        if isinstance(config[name], str)
        and inspect.isfunction(function := getattr(layer, name, None))
        and _name_in_keras(function) is None
    }
    config = {**config, **own}
    if isinstance(layer, keras.layers.Lambda):
        # Its code is already in memory, so the user has accepted it.
        return layer.__class__.from_config(config, safe_mode=False)
    return layer.__class__.from_config(config)


class _WithoutActivation(keras.layers.Layer):
    """Calls a layer without its activation; the weights are those of the layer."""

    def __init__(self, layer: keras.Layer, **kwargs: Any):
        super().__init__(dtype=layer.dtype_policy, **kwargs)
        self.layer = layer

    def call(self, x: Any) -> Any:
        # Replaced only while this call is traced. This works for Dense, convolutions and any custom
        # layer with an `activation` as in Keras, without repeating their arithmetic.
        activation, self.layer.activation = self.layer.activation, keras.activations.linear
        try:
            return self.layer(x)
        finally:
            self.layer.activation = activation
