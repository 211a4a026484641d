"""`slim`: a narrower, newly initialized copy of a model."""

import numbers
from typing import Any

import keras

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.models.graph import edit_nested, inline, scope_name, share_layer
from keras_zskd.models.slimming.channels import Channels, narrowed
from keras_zskd.models.slimming.folding import start_from
from keras_zskd.models.slimming.reading import read_channels


def slim(model: keras.Model, width: float, weights: str = "random") -> keras.Model:
    """Create a copy of `model` whose hidden layers are `width` times as wide.

    A layer of `c` channels or units gets `c * width`, rounded to the nearest whole number (halves
    up), at least 1. Layers of equal size keep equal sizes, so residual additions,
    squeeze-and-excite products and concatenations still fit. The number of groups is kept, and
    channels are rounded to multiples of it. The input, the output (classes, final activation), all
    axes tied to either by an addition, dtype policies, kernel sizes and strides do not change.

    Convolutions (plain, grouped, transposed, separable, depthwise), dense, embedding, multi-head
    attention, recurrent (LSTM, GRU, SimpleRNN, ConvLSTM; Bidirectional, TimeDistributed) and
    normalization layers are supported, as are all layers without weights, `keras.ops` in the graph,
    shared layers, and nested models, which are inlined. Operations without weights that cannot be
    narrowed (slices of the channels, `einsum`) keep their width.

    Weights are newly initialized with the initializers of the layers, as in the papers, unless
    `weights="teacher"` folds those of `model`. All layers are trainable, even if those of `model`
    are frozen. Only `Normalization` layers keep their mean and variance, which describe the data.
    `model` is not changed.

    Args:
        model: A Functional or Sequential model with one input and one output.
        width: Fraction of the channels to keep, above 0 and at most 1.
        weights: "random", or "teacher" for `start_from(model, slim(model, width))`.

    Returns:
        A Functional model named `<name>_slim` with the input and output shapes of `model`.

    Raises:
        InputError: If `width` is not in (0, 1], `weights` is invalid, `model` has no graph of
            layers or several inputs or outputs, a layer with weights is not supported, or the copy
            would not be smaller although `width` is below 1.

    Example:
    >>> from keras_zskd.models import lenet5, slim
    >>> slim(lenet5(), 0.5).count_params()
    15738
    """
    _check(model, width)
    if weights not in ("random", "teacher"):
        raise invalid("weights", 'be "random" or "teacher"', weights)
    # The flat graph shares the layers of the model, so nothing is built again at full width.
    flat = inline(model, share_layer)
    changes = {id(call.op): call.changes for call in read_channels(flat)}
    copies: list[tuple[Any, Any]] = []

    def copy(layer: Any) -> Any:
        narrow = _narrow_copy(layer, changes.get(id(layer), {}), width)
        copies.append((layer, narrow))
        return narrow

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return layer(*args, **kwargs)
        except Exception as error:
            raise _not_narrow(layer, error) from error

    narrow = keras.models.clone_model(flat, clone_function=copy, call_function=call)
    for layer, twin in copies:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            twin.set_weights(layer.get_weights())
            twin.finalize_state()  # Keras computes tensors from the weights here.
    if narrow.output_shape != model.output_shape:
        raise InputError(
            "`model` must keep its output shape when narrowed. Received: "
            f"model={model.name!r}, whose narrower copy has outputs of shape "
            f"{narrow.output_shape} instead of {model.output_shape}. Write the smaller model by "
            "hand."
        )
    if width < 1 and narrow.count_params() >= model.count_params():
        raise InputError(
            "`model` must have hidden layers that can be narrowed. Received: "
            f"model={model.name!r} and width={width}. Use a smaller width or write the smaller "
            "model by hand."
        )
    name = scope_name(f"{model.name}_slim")
    student = keras.Model(narrow.inputs[0], narrow.outputs[0], name=name)
    return start_from(model, student) if weights == "teacher" else student


def _check(model: Any, width: Any) -> None:
    is_number = isinstance(width, numbers.Real) and not isinstance(width, bool)
    if not is_number or not 0 < float(width) <= 1:
        raise invalid("width", "be a number above 0 and at most 1", width)
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not isinstance(model, keras.Model) or not inputs or not outputs:
        raise InputError(
            "`model` must be a built Functional or Sequential model. Received: an object of type "
            f"{type(model).__name__} without a graph of layers."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"`model` must have one input and one output. Received: model={model.name!r} with "
            f"{len(inputs)} inputs and {len(outputs)} outputs."
        )


def _narrow_copy(layer: Any, changes: dict[str, Any], width: float) -> Any:
    if getattr(layer, "quantization_mode", None):
        raise InputError(
            f"`model` must not be quantized. Received: layer {layer.name!r} quantized to "
            f"{layer.quantization_mode}. Pass the original floating-point model."
        )

    def value(item: Any) -> Any:
        return narrowed(item, width) if isinstance(item, Channels) else item

    def change_in(config: dict[str, Any], changes: dict[str, Any]) -> None:
        for name, change in changes.items():
            if isinstance(change, dict):
                change_in(config[name]["config"], change)
            else:
                is_list = isinstance(change, list)
                config[name] = [value(c) for c in change] if is_list else value(change)

    try:
        config = edit_nested(layer.get_config(), _not_built)
        change_in(config, changes)
        if "name" in config:
            config["name"] = scope_name(config["name"])
        if "trainable" in config:
            config["trainable"] = True
        return layer.__class__.from_config(config)
    except Exception as error:
        raise _not_narrow(layer, error) from error


def _not_built(serialized: dict[str, Any]) -> dict[str, Any]:
    # Keras would build a layer in a wrapper at once, at the width that it has in the model.
    return {key: value for key, value in serialized.items() if key != "build_config"}


def _not_narrow(layer: Any, error: Exception) -> InputError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(
        "`model` must have layers that can be narrowed. Received: layer "
        f"{layer.name!r} of type {type(layer).__name__}, which fails in a narrower model "
        f"({reason[0]}). Write the smaller model by hand."
    )
