"""Check whether a network is positively homogeneous in a channel."""

from typing import Any

from keras_zskd.models.slimming.calls import Call
from keras_zskd.models.slimming.channels import Channels, free_parts
from keras_zskd.models.slimming.weight_axes import WeightAxes

_ACTIVATIONS = ("linear", "relu", "leaky_relu")
# Layers and operations of `keras.ops` with f(a x) = a f(x) for a > 0 in each channel.
_PASSING = {
    *("Activation", "ReLU", "LeakyReLU", "PReLU", "Relu", "LeakyRelu", "Identity"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
    *("Flatten", "Reshape", "Permute", "Transpose", "Squeeze", "ExpandDims", "Split", "GetItem"),
    *("Concatenate", "RepeatVector"),
    *(
        f"{kind}{rank}D"
        for kind in ("MaxPooling", "AveragePooling", "ZeroPadding", "Cropping", "UpSampling")
        for rank in (1, 2, 3)
    ),
    *(f"Global{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)),
}
_REDUCING = {"Mean", "Sum", "Max", "Min"}
# The same for operations on several tensors, if all have the same factor.
_JOINING = {"Add", "Subtract", "Average", "Maximum", "Minimum"}


def is_homogeneous(channels: Channels, calls: list[tuple[Call, WeightAxes]]) -> bool:
    """Whether a positive factor on a channel reaches, unchanged, all weights that read the channel.

    Args:
        channels: A free axis.
        calls: All calls of the network with the axes of their weights.
    """
    for call, weights in calls:
        roles = {
            axis.role for axes in weights for axis in axes if channels in free_parts(axis.channels)
        }
        given = [any(channels in free_parts(axis) for axis in axes) for axes in call.inputs]
        handed_on = any(channels in free_parts(axis) for axes in call.outputs for axis in axes)
        if "dotted" in roles or ("made" in roles and not _has_plain_activation(call.op)):
            return False
        if not any(given) or "used" in roles:
            continue
        kind = type(call.op).__name__
        passes = kind in _PASSING and _has_plain_activation(call.op)
        reduces = kind in _REDUCING
        joins = kind in _JOINING and all(given) and len(given) > 1
        if not (handed_on and (passes or reduces or joins)):
            return False
    return True


def _has_plain_activation(op: Any) -> bool:
    if getattr(op, "max_value", None) is not None or getattr(op, "threshold", None):
        return False
    activation = getattr(op, "activation", None)
    return activation is None or getattr(activation, "__name__", None) in _ACTIVATIONS
