"""Which channels the axes of each weight of a layer belong to."""

from typing import Any, NamedTuple

from keras import layers

from keras_zskd.models.slimming.channel_rules import Axes, Call
from keras_zskd.models.slimming.channels import Channels, fixed, product


class WeightAxis(NamedTuple):
    """One axis of a weight.

    Attributes:
        channels: What decides its length.
        is_input: Whether the layer sums over it: a fold adds up what it merges. Else the axis is of
            outputs, or of one parameter per channel, and a fold takes the mean.
        groups: The axis holds this fraction of the channels, alike for each group.
    """

    channels: Channels
    is_input: bool = False
    groups: int = 1


def weight_axes(call: Call, outputs: list[Axes]) -> list[list[WeightAxis]] | None:
    """For each weight of the called layer, its axes; None for a kind of layer that is not known.

    Args:
        call: The first call of the layer.
        outputs: The axes of its outputs.
    """
    layer = call.op
    found = _axes_by_weight(layer, call.inputs[0], outputs[0])
    if found is None:
        return None
    return [found(_role(weight), weight) for weight in layer.weights]


def _axes_by_weight(layer: Any, inputs: Axes, outputs: Axes) -> Any:
    """A function from the name and the shape of a weight to its axes."""
    first = getattr(layer, "data_format", None) == "channels_first"
    seen, made = (axes[1 if first else -1] for axes in (inputs, outputs))

    def convolution(role: str, weight: Any) -> list[WeightAxis]:
        if role == "bias":
            return [WeightAxis(made)]
        window = [_fixed(size) for size in weight.shape[:-2]]
        return [*window, WeightAxis(seen, True, getattr(layer, "groups", 1)), WeightAxis(made)]

    def transposed(role: str, weight: Any) -> list[WeightAxis]:
        axes = convolution(role, weight)
        return axes if role == "bias" else [*axes[:-2], axes[-1], axes[-2]]

    def depthwise(role: str, weight: Any) -> list[WeightAxis]:
        if role == "bias":
            return [WeightAxis(made)]
        window = [_fixed(size) for size in weight.shape[:-2]]
        return [*window, WeightAxis(seen), _fixed(weight.shape[-1])]

    def separable(role: str, weight: Any) -> list[WeightAxis]:
        if role == "depthwise_kernel":
            return depthwise(role, weight)
        if role == "bias":
            return [WeightAxis(made)]
        inner = product([seen, fixed(layer.depth_multiplier)])
        window = [_fixed(size) for size in weight.shape[:-2]]
        return [*window, WeightAxis(inner, True), WeightAxis(made)]

    def dense(role: str, weight: Any) -> list[WeightAxis]:
        del weight
        return [WeightAxis(made)] if role == "bias" else [WeightAxis(seen, True), WeightAxis(made)]

    def embedding(role: str, weight: Any) -> list[WeightAxis]:
        del role
        return [_fixed(weight.shape[0]), WeightAxis(made)]

    def per_channel(role: str, weight: Any) -> list[WeightAxis]:
        del role
        axis = getattr(layer, "axis", None)
        numbers = range(-len(weight.shape), 0) if axis is None else _as_list(axis)
        return [
            _fixed(size) if size == 1 else WeightAxis(inputs[number])
            for number, size in zip(numbers, weight.shape, strict=True)
        ]

    rules: tuple[tuple[tuple[type, ...], Any], ...] = (
        ((layers.SeparableConv1D, layers.SeparableConv2D), separable),
        ((layers.DepthwiseConv1D, layers.DepthwiseConv2D), depthwise),
        ((layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose), transposed),
        ((layers.Conv1D, layers.Conv2D, layers.Conv3D), convolution),
        ((layers.Dense,), dense),
        ((layers.Embedding,), embedding),
        (
            (
                layers.BatchNormalization,
                layers.LayerNormalization,
                layers.RMSNormalization,
                layers.GroupNormalization,
                layers.PReLU,
            ),
            per_channel,
        ),
    )
    if type(layer).__name__ == "LayerScale":  # Of keras.applications.convnext.
        return per_channel
    return next((rule for kinds, rule in rules if isinstance(layer, kinds)), None)


def _role(weight: Any) -> str:
    return str(weight.path.rsplit("/", 1)[-1])


def _fixed(size: int) -> WeightAxis:
    return WeightAxis(fixed(size))


def _as_list(axis: Any) -> list[int]:
    return list(axis) if isinstance(axis, list | tuple) else [axis]
