"""The channels of each axis of each weight, and how the axis is folded."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import layers

from keras_zskd.models.slimming.calls import Axes, Call
from keras_zskd.models.slimming.channels import Channels, fixed, product, root_of


@dataclasses.dataclass(frozen=True)
class WeightAxis:
    """One axis of one weight.

    Attributes:
        channels: The channels of its entries.
        role: "made" if the weight computes the channels, and "kept" if it has one parameter per
            channel: a cluster gets the mean of either. "used" if the weight reads the channels,
            and "dotted" if it computes one factor of a scalar product over them: a cluster gets the
            sum.
        groups: Number of groups of a grouped convolution, of which the axis is one group.
    """

    channels: Channels
    role: str = "kept"
    groups: int = 1


WeightAxes = list[tuple[WeightAxis, ...]]


def axes_of_weights(call: Call) -> WeightAxes:
    """Return the axes of each weight of a layer, from one of its calls."""
    shapes = [tuple(weight.shape) for weight in getattr(call.op, "weights", [])]
    rule = next((_RULES[c] for c in type(call.op).__mro__ if c in _RULES), None)
    if type(call.op).__name__ == "LayerScale":  # In keras.applications.convnext.
        rule = _per_channel
    found = rule(call) if rule is not None and shapes else []
    if [len(axes) for axes in found] != [len(shape) for shape in shapes]:
        found = [tuple(WeightAxis(fixed(size)) for size in shape) for shape in shapes]
    return found


def _fixed(sizes: Any) -> tuple[WeightAxis, ...]:
    return tuple(WeightAxis(fixed(size)) for size in sizes)


def _channels(op: Any, axes: Axes) -> Channels:
    return axes[1 if getattr(op, "data_format", None) == "channels_first" else -1]


def _convolution(call: Call) -> WeightAxes:
    op = call.op
    read, made = _channels(op, call.inputs[0]), _channels(op, call.outputs[0])
    groups, window = getattr(op, "groups", 1), _fixed(op.kernel_size)
    bias = [(WeightAxis(made, "made"),)] * op.use_bias
    if 1 < groups == root_of(read).size:  # Equivalent to a depthwise convolution.
        per_channel = WeightAxis(made)
        return [(*window, *_fixed([1]), per_channel), *[(per_channel,)] * op.use_bias]
    kernel = (WeightAxis(read, "used", groups), WeightAxis(made, "made"))
    return [(*window, *kernel), *bias]


def _transposed(call: Call) -> WeightAxes:
    (*window, read, made), *bias = _convolution(call)
    return [(*window, made, read), *bias]


def _separable(call: Call) -> WeightAxes:
    op = call.op
    read, made = _channels(op, call.inputs[0]), _channels(op, call.outputs[0])
    between = product([read, fixed(op.depth_multiplier)])
    return [
        (*_fixed(op.kernel_size), WeightAxis(read), *_fixed([op.depth_multiplier])),
        (*_fixed([1] * op.rank), WeightAxis(between, "used"), WeightAxis(made, "made")),
        *[(WeightAxis(made, "made"),)] * op.use_bias,
    ]


def _depthwise(call: Call) -> WeightAxes:
    op = call.op
    read, made = _channels(op, call.inputs[0]), _channels(op, call.outputs[0])
    kernel = (*_fixed(op.kernel_size), WeightAxis(read), *_fixed([op.depth_multiplier]))
    return [kernel, *[(WeightAxis(made),)] * op.use_bias]


def _dense(call: Call) -> WeightAxes:
    made = WeightAxis(call.outputs[0][-1], "made")
    return [(WeightAxis(call.inputs[0][-1], "used"), made), *[(made,)] * call.op.use_bias]


def _embedding(call: Call) -> WeightAxes:
    return [(*_fixed([call.op.input_dim]), WeightAxis(call.outputs[0][-1], "made"))]


def _attention(call: Call) -> WeightAxes:
    key, value = call.changes["key_dim"], call.changes["value_dim"]
    query_in, *others = [axes[-1] for axes in call.inputs]
    value_in = others[0] if others else query_in
    # The last input may be a mask; as a positional argument, a mask comes after the key.
    key_in = others[1] if len(call.arguments) > 2 and len(others) > 1 else value_in
    parts = {
        "query": (query_in, WeightAxis(key, "dotted")),
        "key": (key_in, WeightAxis(key, "made")),
        "gate": (query_in, WeightAxis(value)),
        "value": (value_in, WeightAxis(value, "made")),
    }
    found: WeightAxes = []
    for weight in call.op.weights:
        part, is_bias = weight.path.split("/")[-2], weight.path.endswith("bias")
        if part == "attention_output":
            made = WeightAxis(call.outputs[0][-1], "made")
            heads = (*_fixed(weight.shape[:1]), WeightAxis(value, "used"))
            found.append((made,) if is_bias else (*heads, made))
        elif part in parts:
            read, made = parts[part]
            heads = (*_fixed(weight.shape[-2:-1]), made)
            found.append(heads if is_bias else (WeightAxis(read, "used"), *heads))
    return found


def _per_channel(call: Call) -> WeightAxes:
    axis = getattr(call.op, "axis", -1)
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    kept = tuple(WeightAxis(call.inputs[0][i]) for i in axes)
    return [kept for _ in call.op.weights]


def _prelu(call: Call) -> WeightAxes:
    shape = call.op.alpha.shape
    own = zip(call.inputs[0][1:], shape, strict=True)
    return [tuple(WeightAxis(fixed(1) if size == 1 else axis) for axis, size in own)]


_RULES: dict[type, Callable[[Call], WeightAxes]] = {
    **{getattr(layers, f"Conv{rank}D"): _convolution for rank in (1, 2, 3)},
    **{getattr(layers, f"Conv{rank}DTranspose"): _transposed for rank in (1, 2, 3)},
    **{getattr(layers, f"SeparableConv{rank}D"): _separable for rank in (1, 2)},
    **{getattr(layers, f"DepthwiseConv{rank}D"): _depthwise for rank in (1, 2)},
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    layers.MultiHeadAttention: _attention,
    layers.BatchNormalization: _per_channel,
    layers.LayerNormalization: _per_channel,
    layers.RMSNormalization: _per_channel,
    layers.GroupNormalization: _per_channel,
    layers.PReLU: _prelu,
}
