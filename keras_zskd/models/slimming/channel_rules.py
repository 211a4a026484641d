"""Rules of `slim`: how Keras layers and `keras.ops` operations map input to output channels.

A rule takes one call of a layer in the original graph. It computes the `Channels` of the outputs
from those of the inputs, and records which arguments of the layer depend on them. An operation
without a rule and without weights is treated as elementwise if its shapes allow it, and ties the
axes of its inputs. Otherwise their axes keep their full length, which is always correct.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import layers

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.calls import Axes, Call
from keras_zskd.models.slimming.channels import (
    Channels,
    fixed,
    is_fixed,
    pin,
    product,
    quotient,
    regroup,
    require_multiple,
    tie,
    total,
)
from keras_zskd.models.slimming.recurrent_rules import bidirectional, recurrent


def output_axes(call: Call) -> list[Axes]:
    """Return the axes of the outputs of a call; see `Call`.

    Raises:
        InputError: If the layer has weights and there is no rule for it.
    """
    rule = next((_LAYERS[c] for c in type(call.op).__mro__ if c in _LAYERS), None)
    if rule is None and not isinstance(call.op, layers.Layer):
        rule = _OPERATIONS.get(type(call.op).__name__)
    if rule is not None:
        return rule(call)
    if isinstance(call.op, layers.Layer) and call.op.weights:
        if type(call.op).__name__ == "LayerScale" and hasattr(call.op, "projection_dim"):
            call.changes["projection_dim"] = call.inputs[0][-1]  # In keras.applications.convnext.
            return [call.inputs[0]]
        raise InputError(
            "`model` must have layers that can be narrowed. Received: layer "
            f"{call.op.name!r} of type {type(call.op).__name__} with weights. Write the smaller "
            "model by hand."
        )
    return _elementwise(call)


def _same(call: Call) -> list[Axes]:
    return [call.inputs[0]]


def _elementwise(call: Call) -> list[Axes]:
    shapes = [tuple(axis.size for axis in axes) for axes in call.inputs]
    outputs = []
    for shape in call.shapes:
        if any(len(s) > len(shape) for s in shapes) or shape != _broadcast(shapes):
            return _full_length(call)
        axes = []
        for i, size in enumerate(shape):
            aligned = [a[i - len(shape)] for a in call.inputs if len(a) >= len(shape) - i]
            aligned = [axis for axis in aligned if axis.size == size] or [fixed(size)]
            for other in aligned[1:]:
                tie(aligned[0], other)
            axes.append(aligned[0])
        outputs.append(tuple(axes))
    return outputs


def _broadcast(shapes: list[tuple[int | None, ...]]) -> tuple[int | None, ...] | None:
    # A number larger than any axis, in place of the unknown length of the batch.
    batch = 2**31 - 1
    try:
        known = np.broadcast_shapes(*([batch if s is None else s for s in x] for x in shapes))
    except ValueError:
        return None
    return tuple(None if s == batch else s for s in known)


def _full_length(call: Call) -> list[Axes]:
    for axes in call.inputs:
        for axis in axes:
            pin(axis)
    return [tuple(fixed(size) for size in shape) for shape in call.shapes]


def _axis(op: Any) -> int:
    channels_first = getattr(op, "data_format", None) == "channels_first"
    return 1 if channels_first else -1


def _window(call: Call, channels: Channels | None = None) -> list[Axes]:
    """Rule of operations on neighboring pixels: only the channel axis may shrink."""
    (axes, *_), (shape, *_) = call.inputs, call.shapes
    index = _axis(call.op) % len(axes)
    for i, axis in enumerate(axes):
        if i != index:
            pin(axis)
    out = [fixed(size) for size in shape]
    out[index] = axes[index] if channels is None else channels
    return [tuple(out)]


def _convolution(call: Call) -> list[Axes]:
    conv, inputs = call.op, call.inputs[0][_axis(call.op)]
    groups = getattr(conv, "groups", 1)
    if 1 < groups == inputs.size:  # Equivalent to a depthwise convolution.
        out = product([inputs, fixed(conv.filters // groups)])
        call.changes.update(filters=out, groups=inputs)
        return _window(call, out)
    out = call.make("filters", conv.filters)
    require_multiple(inputs, groups)
    require_multiple(out, groups)
    return _window(call, out)


def _depthwise(call: Call) -> list[Axes]:
    multiplier = fixed(call.op.depth_multiplier)
    return _window(call, product([call.inputs[0][_axis(call.op)], multiplier]))


def _dense(call: Call) -> list[Axes]:
    return [(*call.inputs[0][:-1], call.make("units", call.op.units))]


def _embedding(call: Call) -> list[Axes]:
    return [(*call.inputs[0], call.make("output_dim", call.op.output_dim))]


def _group_normalization(call: Call) -> list[Axes]:
    channels = call.inputs[0][call.op.axis]
    if call.op.groups in (-1, channels.size):  # Instance normalization.
        call.changes["groups"] = channels
    else:
        require_multiple(channels, call.op.groups)
    return [call.inputs[0]]


def _normalization(call: Call) -> list[Axes]:
    for axis in call.inputs[0]:  # Mean and variance describe the data.
        pin(axis)
    return [call.inputs[0]]


def _rescaling(call: Call) -> list[Axes]:
    if max(np.ndim(call.op.scale), np.ndim(call.op.offset)):
        pin(call.inputs[0][-1])
    return [call.inputs[0]]


def _attention(call: Call) -> list[Axes]:
    call.make("key_dim", call.op.get_config()["key_dim"])
    call.make("value_dim", call.op.get_config()["value_dim"])
    if call.op.get_config()["output_shape"] is not None or len(call.shapes) > 1:
        return _full_length(call)
    return [call.inputs[0]]


def _global_pooling(call: Call) -> list[Axes]:
    axes = call.inputs[0]
    index = _axis(call.op) % len(axes)
    kept = call.op.keepdims
    return [
        tuple(
            a if i in (0, index) else fixed(1)
            for i, a in enumerate(axes)
            if kept or i in (0, index)
        )
    ]


def _flatten(call: Call) -> list[Axes]:
    batch, *rest = call.inputs[0]
    if call.op.data_format == "channels_first":  # Keras always flattens with the channels last.
        rest = [*rest[1:], *rest[:1]]
    return [(batch, product(rest))]


def _reshape(call: Call) -> list[Axes]:
    (axes, *_), (shape, *_) = call.inputs, call.shapes
    out = regroup(list(axes), list(shape))
    if isinstance(call.op, layers.Layer):
        name, original, new = "target_shape", call.op.target_shape, out[1:]
    else:
        name, original, new = "newshape", call.op.newshape, out
    call.changes[name] = [
        a if size not in (-1, None) else size for a, size in zip(new, original, strict=True)
    ]
    return [tuple(out)]


def _permute(call: Call) -> list[Axes]:
    axes = call.inputs[0]
    if isinstance(call.op, layers.Layer):
        order = [0, *call.op.dims]
    else:
        order = list(call.op.axes or range(len(axes))[::-1])
    return [tuple(axes[i] for i in order)]


def _repeat(call: Call) -> list[Axes]:
    batch, channels = call.inputs[0]
    return [(batch, fixed(call.op.n), channels)]


def _concatenate(call: Call) -> list[Axes]:
    index = call.op.axis % len(call.shapes[0])
    out = []
    for i, aligned in enumerate(zip(*call.inputs, strict=True)):
        if i == index:
            out.append(total(list(aligned)))
            continue
        for other in aligned[1:]:
            tie(aligned[0], other)
        out.append(aligned[0])
    return [tuple(out)]


def _split(call: Call) -> list[Axes]:
    (axes, *_), parts = call.inputs, call.op.indices_or_sections
    index = call.op.axis % len(axes)
    if not isinstance(parts, int):
        pin(axes[index])
        return [
            tuple(fixed(s) if i == index else axes[i] for i, s in enumerate(shape))
            for shape in call.shapes
        ]
    piece = quotient(axes[index], parts)
    return [tuple(piece if i == index else a for i, a in enumerate(axes)) for _ in range(parts)]


def _reduction(call: Call) -> list[Axes]:
    axes = call.inputs[0]
    reduced = range(len(axes)) if call.op.axis is None else np.atleast_1d(call.op.axis) % len(axes)
    out = [
        fixed(1) if i in reduced else a
        for i, a in enumerate(axes)
        if call.op.keepdims or i not in reduced
    ]
    return [tuple(out)]


def _expand_or_squeeze(call: Call) -> list[Axes]:
    rest = [axis for axis in call.inputs[0] if axis.size != 1]
    return [tuple(fixed(1) if size == 1 else rest.pop(0) for size in call.shapes[0])]


def _padding(call: Call) -> list[Axes]:
    axes, shape = call.inputs[0], call.shapes[0]
    out = [a if a.size == size else fixed(size) for a, size in zip(axes, shape, strict=True)]
    for axis, kept in zip(axes, out, strict=True):
        if kept is not axis:
            pin(axis)
    return [tuple(out)]


def _slice(call: Call) -> list[Axes]:
    key, axes, out = call.arguments[1], list(call.inputs[0]), []
    keys = list(key) if isinstance(key, (tuple, list)) else [key]
    if Ellipsis not in keys:
        keys.append(Ellipsis)
    wildcard = keys.index(Ellipsis)
    taken = sum(k is not None for k in keys) - 1
    keys[wildcard : wildcard + 1] = [slice(None)] * (len(axes) - taken)
    for k in keys:
        if k is None:
            out.append(fixed(1))
            continue
        axis = axes.pop(0)
        if k != slice(None):
            pin(axis)
        if isinstance(k, slice):
            out.append(axis if k == slice(None) else fixed(call.shapes[0][len(out)]))
    return [tuple(out)]


def _matmul(call: Call) -> list[Axes]:
    if len({len(axes) for axes in call.inputs}) != 1 or len(call.inputs[0]) < 2:
        return _full_length(call)
    left, right = call.inputs
    if any(not is_fixed(axis) for axis in (*left[:-2], *right[:-2])):
        return _full_length(call)
    tie(left[-1], right[-2])
    batch = (fixed(size) for size in call.shapes[0][:-2])
    return [(*batch, left[-2], right[-1])]


def _time_distributed(call: Call) -> list[Axes]:
    batch, time, *rest = call.inputs[0]
    own = call.wrapped(
        "layer", call.op.layer, [(batch, *rest)], [(s[0], *s[2:]) for s in call.shapes]
    )
    return [(out[0], time, *out[1:]) for out in output_axes(own)]


Rule = Callable[[Call], list[Axes]]

_LAYERS: dict[type, Rule] = {
    **{
        getattr(layers, f"{name}{rank}D"): rule
        for rank in (1, 2, 3)
        for name, rule in {
            "MaxPooling": _window,
            "AveragePooling": _window,
            "ZeroPadding": _window,
            "Cropping": _window,
            "UpSampling": _window,
            "GlobalAveragePooling": _global_pooling,
            "GlobalMaxPooling": _global_pooling,
        }.items()
    },
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.Conv1DTranspose: _convolution,
    layers.Conv2DTranspose: _convolution,
    layers.Conv3DTranspose: _convolution,
    layers.SeparableConv1D: _convolution,
    layers.SeparableConv2D: _convolution,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    layers.MultiHeadAttention: _attention,
    layers.BatchNormalization: _same,
    layers.LayerNormalization: _same,
    layers.RMSNormalization: _same,
    layers.GroupNormalization: _group_normalization,
    layers.PReLU: _same,
    layers.Normalization: _normalization,
    layers.Rescaling: _rescaling,
    layers.Resizing: _window,
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat,
    layers.Concatenate: _concatenate,
    layers.Dot: _full_length,
    layers.TimeDistributed: _time_distributed,
    layers.Bidirectional: bidirectional,
    **dict.fromkeys((layers.LSTM, layers.GRU, layers.SimpleRNN), recurrent),
    **dict.fromkeys((layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D), recurrent),
}

_OPERATIONS: dict[str, Rule] = {
    "Reshape": _reshape,
    "Transpose": _permute,
    "Concatenate": _concatenate,
    "Split": _split,
    "ExpandDims": _expand_or_squeeze,
    "Squeeze": _expand_or_squeeze,
    "GetItem": _slice,
    "Pad": _padding,
    "Matmul": _matmul,
    **dict.fromkeys(("Mean", "Sum", "Max", "Min", "Var", "Std", "Prod", "Logsumexp"), _reduction),
}
