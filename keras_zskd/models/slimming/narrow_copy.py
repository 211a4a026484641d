"""`slim`: a narrower, freshly initialised copy of a model."""

import numbers
from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.channels import Channels, narrowed
from keras_zskd.models.slimming.folding import start_from
from keras_zskd.models.slimming.reading import read_channels


def slim(model: keras.Model, width: float, weights: str = "random") -> keras.Model:
    """A copy of `model` whose hidden layers are `width` times as wide, with fresh or folded weights.

    A layer of `c` channels or units gets `c * width` of them, rounded to the nearest whole number
    (halves up) and at least 1. Layers of one size stay of one size, so residual additions,
    squeeze-and-excite products and concatenations still fit; group counts stay, and channels are
    rounded to multiples of them. The input, the output (classes, final activation), what is tied to
    either by an addition, every dtype policy and all kernel sizes and strides stay as they are.

    It knows convolutions (plain, grouped, transposed, separable, depthwise), dense, embedding and
    multi-head attention layers, all normalisations, all layers without weights, `keras.ops` in the
    graph, shared layers, and nested models, which are opened into one flat graph. What it cannot
    narrow among operations without weights (slices of the channels, `einsum`) keeps its width.

    Weights are drawn anew by each layer's own initialisers, as in the papers, unless
    `weights="teacher"` folds those of `model`. All layers are trainable, also where those of `model`
    are frozen. Only `Normalization` keeps its mean and variance, which describe the data. `model` is
    not changed.

    Args:
        model: A Functional or Sequential model with one input and one output.
        width: Fraction of the channels to keep, above 0 and at most 1.
        weights: "random", or "teacher" for `start_from(model, slim(model, width))`.

    Returns:
        A Functional model named `<name>_slim` with the input and output shapes of `model`.

    Raises:
        InputError: If `width` is not in (0, 1], `weights` is neither of the two, if `model` has no
            graph of layers or several inputs or outputs, if a layer with weights is of a kind that
            cannot be narrowed, or if the copy would be no smaller although `width` is below 1.

    Example:
    >>> from keras_zskd.models import lenet5, slim
    >>> slim(lenet5(), 0.5).count_params()
    15738
    """
    _check(model, width)
    if weights not in ("random", "teacher"):
        raise InputError(
            f'`weights` must be "random" or "teacher". Received: weights={weights!r}. Leave it out for '
            "random weights."
        )
    # The model's own layers, seen as one flat graph: nothing is built twice at full width.
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
            twin.finalize_state()  # Keras computes with tensors that it derives from the weights
    if narrow.output_shape != model.output_shape:
        raise InputError(
            f"Model {model.name!r} was received, whose narrower copy would give outputs of shape "
            f"{narrow.output_shape} instead of {model.output_shape}; write the smaller model by "
            "hand and pass it as the student instead of a width."
        )
    if width < 1 and narrow.count_params() >= model.count_params():
        raise InputError(
            f"Model {model.name!r} was received with width={width}, but none of its hidden layers "
            "can get narrower; use a smaller width, or pass a smaller model as the student."
        )
    student = keras.Model(narrow.inputs[0], narrow.outputs[0], name=f"{model.name}_slim")
    return start_from(model, student) if weights == "teacher" else student


def _check(model: Any, width: Any) -> None:
    is_number = isinstance(width, numbers.Real) and not isinstance(width, bool)
    if not is_number or not 0 < float(width) <= 1:
        raise InputError(f"Received width={width!r}; pass a number above 0 and at most 1.")
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not isinstance(model, keras.Model) or not inputs or not outputs:
        raise InputError(
            f"Received a {type(model).__name__} without a graph of layers; slim needs a built "
            "Functional or Sequential model, so pass one or write the smaller model by hand."
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise InputError(
            f"Model {model.name!r} was received with {len(inputs)} inputs and {len(outputs)} "
            "outputs; slim needs a model with one of each."
        )


def _narrow_copy(layer: Any, changes: dict[str, Any], width: float) -> Any:
    if getattr(layer, "quantization_mode", None):
        raise InputError(
            f"Layer {layer.name!r} was received quantised to {layer.quantization_mode}; pass the "
            "floating-point model that it was made from."
        )

    def value(item: Any) -> Any:
        return narrowed(item, width) if isinstance(item, Channels) else item

    try:
        config = layer.get_config()
        for name, change in changes.items():
            config[name] = [value(c) for c in change] if isinstance(change, list) else value(change)
        if "trainable" in config:
            config["trainable"] = True
        return layer.__class__.from_config(config)
    except Exception as error:
        raise _not_narrow(layer, error) from error


def _not_narrow(layer: Any, error: Exception) -> InputError:
    reason = str(error).strip().splitlines() or [type(error).__name__]
    return InputError(
        f"Layer {layer.name!r} of type {type(layer).__name__} was received, which does not work in "
        f"a narrower model ({reason[0]}); write the smaller model by hand and pass it as the "
        "student instead of a width."
    )
