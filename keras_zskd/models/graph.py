"""Transformations of Keras graphs: inline nested models, copy them in another precision.

Each transformation rebuilds the graph node by node, as Keras does when it clones a model, and
replaces some of the nodes. Shared layers, residual additions and `keras.ops` nodes are kept.
"""

import contextlib
import hashlib
import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError, first_line
from keras_zskd.core.keras_internals import maker_of, replay

Operation = Any  # keras.layers.Layer or an operation of keras.ops


def clone_layer(layer: Operation) -> Operation:
    """Create a newly initialized copy of a layer or operation."""
    with copying(layer):
        return _from_config(layer, layer.get_config())


@contextlib.contextmanager
def copying(layer: Operation) -> Iterator[None]:
    """Report the layer that cannot be made from its config, for any reason."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # Whatever the code of a custom layer raises.
        reason = first_line(error)
        raise InputError(
            "`model` must have layers that can be copied. Received: layer "
            f"{layer.name!r} of type {type(layer).__name__}, whose config cannot be read or written "
            f"({reason}). Give it a get_config() with all arguments of its __init__, which also "
            "takes **kwargs."
        ) from error


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

    return as_model(
        model, lambda x: replayed(model, x, copy_once, lambda layer, *a, **k: layer(*a, **k))
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


def edit_nested(config: Any, edit: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Return the config of a layer with `edit` applied to every object that is serialized in it.

    These are the layers of wrappers such as `Bidirectional`, initializers, regularizers and dtype
    policies, each a dictionary with the keys "class_name" and "config". `config` is not changed.
    """
    if isinstance(config, dict):
        edited = {key: edit_nested(value, edit) for key, value in config.items()}
        return edit(edited) if "class_name" in edited and "config" in edited else edited
    return [edit_nested(value, edit) for value in config] if isinstance(config, list) else config


def scope_name(name: str) -> str:
    """Replace all characters of a layer name that TensorFlow does not accept in a graph."""
    return re.sub(r"^[^A-Za-z0-9.]", "x_", re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name))


def typed_copy(model: keras.Model, dtype: str = "float32", prefix: str = "") -> keras.Model:
    """Create a flat copy of a model, with its own weights and the same precision in all layers.

    Args:
        model: As for `inline`. Layers with the same name in different nested models are renamed.
        dtype: A Keras dtype policy: "float32", or "mixed_bfloat16" with float32 weights. The output
            layer always uses float32: logits are compared, and divided by temperatures.
        prefix: Prefix of the layer names.
    """
    last: Operation = model
    while getattr(last, "outputs", None) and isinstance(last, keras.Model):
        last, _ = maker_of(last.outputs[0])
    taken: set[str] = set()
    copies: list[tuple[keras.Layer, keras.Layer]] = []

    def copy(layer: Operation) -> Operation:
        with copying(layer):
            return copied(layer)

    def copied(layer: Operation) -> Operation:
        config = layer.get_config()
        if not isinstance(layer, keras.Layer):
            return _from_config(layer, config)
        plain = scope_name(f"{prefix}{layer.name}")
        name, number = plain, 1
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        taken.add(name)
        # A SavedModel computes in the precision that it was written in.
        is_fixed = layer is last or isinstance(layer, keras.layers.TFSMLayer)
        precision = "float32" if is_fixed else dtype
        config = edit_nested(config, lambda inner: _at_precision(inner, precision))
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


def _at_precision(serialized: dict[str, Any], precision: str) -> dict[str, Any]:
    # The dtype of a layer is a policy; those of arrays and inputs are strings, which are kept.
    config = serialized["config"]
    if not isinstance(config, dict) or not isinstance(config.get("dtype"), dict):
        return serialized
    return {**serialized, "config": {**config, "dtype": precision}}


def with_graph(model: keras.Model, shape: Any = None) -> keras.Model:
    """Return a Functional or Sequential model as it is, and trace the `call` of any other model.

    Args:
        model: A model. One that is subclassed must have been built.
        shape: Shape of its input with the batch axis. Defaults to the one it was built with.

    Raises:
        InputError: If the graph cannot be found by calling `call` on a symbolic input.
    """
    if getattr(model, "inputs", None):
        return model
    shape = shape or (model.get_build_config() or {}).get("input_shape")
    try:
        pixels = keras.Input(batch_shape=(None, *shape[1:]))
        return keras.Model(pixels, model.call(pixels), name=model.name)
    except Exception as error:  # Whatever the code of the user raises.
        reason = first_line(error)
        raise InputError(
            "`model` must be a Functional or Sequential model, or one whose `call` consists of Keras "
            f"layers and keras.ops on one input. Received: model={model.name!r}, a subclassed model "
            f"without a graph ({reason}). Wrap it: keras.Model(inputs, model(inputs))."
        ) from error


def as_model(model: keras.Model, build: Callable[[Any], Any]) -> keras.Model:
    """Return a model that applies `build` to a float32 input of the model's input shape."""
    inputs = keras.Input(batch_shape=model.inputs[0].shape, dtype="float32")
    try:
        return keras.Model(inputs, build(inputs), name=scope_name(model.name))
    except ValueError as error:
        if "unique" in str(error):
            raise InputError(
                f"`model` must have unique layer names. Received: model={model.name!r} with two "
                "layers of the same name in nested models. Rename one of them. Error of Keras: "
                f"{error}"
            ) from error
        raise


def replayed(
    model: keras.Model,
    x: Any,
    copy_layer: Callable[[Operation], Operation],
    call: Callable[..., Any],
) -> Any:
    """Run the graph of `model` on the symbolic tensor `x`, with nested models inlined."""
    outputs: Any = _all_replayed(model, [x], copy_layer, call)[0]
    return outputs


def _all_replayed(
    model: keras.Model,
    inputs: list[Any],
    copy_layer: Callable[[Operation], Operation],
    call: Callable[..., Any],
) -> list[Any]:
    # Converts a Sequential model to a Functional one.
    plain = keras.Model(model.inputs, model.outputs)

    def copy_or_open(layer: Operation) -> Operation:
        return layer if isinstance(layer, keras.Model) else copy_layer(layer)

    def call_or_open(layer: Operation, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, keras.Model):
            return call(layer, *args, **kwargs)
        opened, given = _opened(layer, args, kwargs)
        # Keras flattens what a layer returns, so the structure of the outputs is not needed.
        return _all_replayed(opened, given, copy_layer, call)

    return replay(plain, inputs, copy_or_open, call_or_open)


def _opened(
    model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[keras.Model, list[Any]]:
    """Return a nested model with a graph, and the tensors that it is called on, in its order."""
    given = args[0] if args else kwargs.get("inputs", next(iter(kwargs.values()), None))
    tensors = keras.tree.flatten(given)
    passed = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)]
    if getattr(model, "inputs", None) or len(passed) == 1:
        model = with_graph(model, getattr(tensors[0], "shape", None))
        if isinstance(given, dict) and all(x.name in given for x in model.inputs):
            tensors = [given[x.name] for x in model.inputs]
    if not getattr(model, "inputs", None) or not len(model.inputs) == len(tensors) == len(passed):
        raise InputError(
            "`model` must call each nested model on its inputs alone. Received: nested model "
            f"{model.name!r}, called on {len(passed)} tensors. Make it a keras.Model(inputs, "
            "outputs), and call it without a mask."
        )
    return model, tensors


def _from_config(layer: Operation, config: dict[str, Any]) -> Operation:
    # Keras serializes a custom function called "relu" as "relu", and then loads its own instead.
    own = {
        name: function
        for name in config
        if isinstance(config[name], str)
        and inspect.isfunction(function := getattr(layer, name, None))
        and name_in_keras(function) is None
    }
    config = {**config, **own}
    if isinstance(layer, keras.layers.Lambda | keras.layers.TFSMLayer):
        # Its code is already in memory, so the user has accepted it.
        duplicate = layer.__class__.from_config(config, safe_mode=False)
        if isinstance(layer, keras.layers.Lambda):
            duplicate.function = layer.function  # The one that is read knows no globals.
        return duplicate
    return layer.__class__.from_config(config)


def name_in_keras(thing: Any) -> str | None:
    """Return the name of a class or function of Keras, or None for any other."""
    module = getattr(thing, "__module__", None) or ""
    return thing.__name__ if module.split(".")[0] == "keras" else None
