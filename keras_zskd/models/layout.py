"""Convert models with `data_format="channels_first"` to take images with the channels last."""

from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import copying, inline, replayed, share_layer

# Layers that have an `axis` and no `data_format`.
_WITH_AXIS = (keras.layers.BatchNormalization, keras.layers.Concatenate)
# Activations along the last axis, which is another one after the conversion.
_ALONG_LAST = {"softmax", "log_softmax", "glu", "sparsemax"}
# Elementwise layers, and the input layer: they do not depend on the layout.
_ANYWHERE = (
    keras.layers.Activation, keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU,
    keras.layers.Dropout, keras.layers.GaussianNoise, keras.layers.Add, keras.layers.Multiply,
    keras.layers.Average, keras.layers.Maximum, keras.layers.Subtract, keras.layers.Rescaling,
    keras.layers.InputLayer,
)  # fmt: skip


def is_channels_first(model: keras.Model) -> bool:
    """Whether a model takes images `(C, H, W)`."""
    if len(model.inputs[0].shape) != 4:
        return False
    layers = inline(model, share_layer).layers
    return any(getattr(x, "data_format", None) == "channels_first" for x in layers)


def channels_last(model: keras.Model) -> keras.Model:
    """Return a model of images `(H, W, C)` with copied weights that computes the same as `model`.

    Args:
        model: A Functional or Sequential model of images `(C, H, W)`. It is not changed.

    Raises:
        InputError: If a layer between image layers cannot be converted.
    """
    copies: dict[int, tuple[Any, Any]] = {}

    def copy(layer: Any) -> Any:
        if id(layer) not in copies:
            copies[id(layer)] = layer, (twin := _converted(layer, model))
            if isinstance(twin, keras.Sequential):  # Its layers have the new layout.
                copies.update((id(part), (part, part)) for part in twin.layers)
        return copies[id(layer)][1]

    _, channels, height, width = model.inputs[0].shape
    pixels = keras.Input((height, width, channels))

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return layer(*args, **kwargs)
        except ValueError as error:  # Its inputs do not fit each other, or the layer.
            raise _not_convertible(layer, model) from error

    outputs = replayed(model, pixels, copy, call)
    for layer, twin in copies.values():
        if getattr(layer, "weights", None):
            try:
                twin.set_weights(layer.get_weights())
            except ValueError as error:
                raise _not_convertible(layer, model) from error
    return keras.Model(pixels, outputs, name=model.name)


def _converted(layer: Any, model: keras.Model) -> Any:
    rank = _rank(getattr(layer, "input", None), 4)
    made = _rank(getattr(layer, "output", None), rank)
    with copying(layer):
        config = layer.get_config()
    data_format = config.get("data_format")
    activation = getattr(getattr(layer, "activation", None), "__name__", None)
    if made == 4 and activation in _ALONG_LAST:
        raise _not_convertible(layer, model)
    if isinstance(layer, keras.layers.Flatten) and data_format != "channels_first" and rank == 4:
        # The original flattens in the order `(C, H, W)`.
        return keras.Sequential([keras.layers.Permute((3, 1, 2)), keras.layers.Flatten()])
    if data_format == "channels_first":
        config["data_format"] = "channels_last"
    elif isinstance(layer, _WITH_AXIS) and rank == 4:
        config["axis"] = {1: -1, -3: -1, 2: 1, -2: 1, 3: 2, -1: 2}[config["axis"]]
    # A reshape to a map, such as that of a squeeze-and-excite block, has the channels first.
    elif 4 in (rank, made) and not isinstance(layer, _ANYWHERE):
        raise _not_convertible(layer, model)
    with copying(layer):
        return layer.__class__.from_config(config)


def _rank(tensor: Any, default: int) -> int:
    return len(tensor.shape) if isinstance(tensor, keras.KerasTensor) else default


def _not_convertible(layer: Any, model: keras.Model) -> InputError:
    return InputError(
        "`teacher` must consist of layers that can be converted to channels_last. Received: "
        f"teacher={model.name!r} with layer {layer.name!r} of type {type(layer).__name__} between "
        "channels_first layers. Rebuild it with channels_last; the weights are the same."
    )
