"""`start_from`: initialize a narrower student with its teacher's weights by channel folding."""

import itertools
from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.assignment import (
    Alike,
    Fold,
    alike,
    clusters,
    fold_of,
    places,
    unfolded,
)
from keras_zskd.models.slimming.calls import Call
from keras_zskd.models.slimming.channels import Channels, free_parts, root_of
from keras_zskd.models.slimming.homogeneity import is_homogeneous
from keras_zskd.models.slimming.reading import read_channels
from keras_zskd.models.slimming.recurrent_rules import RECURRENT
from keras_zskd.models.slimming.weight_axes import WeightAxes, WeightAxis, axes_of_weights

Calls = list[tuple[Call, WeightAxes]]


def start_from(teacher: keras.Model, student: keras.Model) -> keras.Model:
    """Initialize a narrower student with its teacher's weights, with similar channels folded.

    The channels of a layer are clustered by k-means, with as many clusters as the student has
    channels. Channels are compared by their incoming weights (kernel and bias). Each counts in
    proportion to the product of the norms of its incoming and outgoing weights. Each cluster
    becomes one channel, with the weighted mean of the incoming and the sum of the outgoing weights.
    Equal channels are folded without an error.

    If all functions between incoming and outgoing weights are positively homogeneous, as ReLU and
    pooling are, channels are compared by the directions of both, and the products of norms are
    squared. Incoming weights are then averaged as directions, and their lengths move to the
    outgoing weights. Channels that are multiples of each other are thus also folded without an
    error.

    If batch normalization follows, the kernel is scaled by it for the comparison, and directions
    are compared in this case, too. The parameters and statistics of the batch normalization are
    averaged like the kernel. The true statistics differ: `repair_batch_norms` estimates them from
    images.

    Channels that are tied by additions share their clusters. Each group of a convolution has its
    own clusters. Layers as wide as in the teacher are copied.

    Args:
        teacher: A Functional or Sequential model.
        student: A model with the same layers in the same order, but narrower, such as
            `slim(teacher, width)`, or `lenet5_half()` for `lenet5()`.

    Returns:
        `student` with new weights.

    Raises:
        InputError: If the student's layers with weights are not narrower copies of the teacher's.
            No weights are changed in this case.

    Example:
    >>> from keras_zskd.models import lenet5, lenet5_half, start_from
    >>> student = start_from(lenet5(), lenet5_half())

    Reference:
        Wang, Šimić, Thiele, et al.: "Forget the Data and Fine-Tuning! Just Fold the Network to
        Compress" (ICLR 2025), with directions in place of filters where that is exact.
    """
    Folding(teacher, student).initialize()
    return student


class Folding:
    """How the channels of a teacher are folded to those of a narrower student.

    Args:
        teacher: A Functional or Sequential model.
        student: See `start_from`. Its weights are not read.

    Attributes:
        student: The student.
        calls: The calls of the teacher's layers, with the axes of their weights.
        folds: The folds of the teacher's free axes.

    Raises:
        InputError: See `start_from`.
    """

    def __init__(self, teacher: keras.Model, student: keras.Model):
        flat, layers, twins = _paired(teacher, student)
        self.student = student
        self.calls = [(call, axes_of_weights(call)) for call in read_channels(flat)]
        axes_of = {id(call.op): axes for call, axes in reversed(self.calls)}
        self._pairs = [
            (layer, twin, axes_of[id(layer)]) for layer, twin in zip(layers, twins, strict=True)
        ]
        self.folds = _folds(self.calls, _student_sizes(self._pairs))

    def initialize(self) -> None:
        """Set the weights of the student.

        Raises:
            InputError: If a folded weight has another shape than the student's. No weights are
                changed in this case.
        """
        values = [_folded(*pair, self.folds) for pair in self._pairs]
        for (_, twin, _), value in zip(self._pairs, values, strict=True):
            twin.set_weights(value)
            if isinstance(twin, keras.layers.Normalization):
                twin.finalize_state()  # Keras computes tensors from the weights here.


def _paired(teacher: Any, student: Any) -> tuple[keras.Model, list[Any], list[Any]]:
    """Return the flat teacher, and the layers with weights of teacher and student."""
    for name, model in (("teacher", teacher), ("student", student)):
        if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
            raise InputError(
                f"`{name}` must be a built Functional or Sequential model. Received: "
                f"{type(model).__name__}. Start from random weights."
            )
    flat = inline(teacher, share_layer)
    layers = [layer for layer in flat.layers if layer.weights]
    twins = [layer for layer in inline(student, share_layer).layers if layer.weights]
    for number, (kind, twin_kind) in enumerate(
        itertools.zip_longest(map(_kind, layers), map(_kind, twins))
    ):
        if kind != twin_kind:
            wanted, received = (
                f"{one[0]} with {one[1]} variables" if one else "no layer"
                for one in (kind, twin_kind)
            )
            raise InputError(
                "`student` must have the teacher's layers in the same order to start from its "
                f"weights. Received: {received} in place of {wanted} as layer {number + 1} of those "
                "with weights. Start from random weights."
            )
    for layer, twin in zip(layers, twins, strict=True):
        shapes = [[tuple(w.shape) for w in one.weights] for one in (layer, twin)]
        if isinstance(layer, (*RECURRENT, keras.layers.TimeDistributed)) and shapes[0] != shapes[1]:
            raise InputError(
                "`teacher` must have no recurrent layers to be folded: their units feed back into each "
                f"other. Received: layer {layer.name!r} of type {type(layer).__name__}. Start from "
                "random weights."
            )
    return flat, layers, twins


def _kind(layer: Any) -> tuple[str, int]:
    return type(layer).__name__, len(layer.weights)


def _student_sizes(pairs: list[tuple[Any, Any, WeightAxes]]) -> dict[Channels, int]:
    """Return the student's number of channels of each free axis."""
    sizes: dict[Channels, int] = {}
    for _, twin, weights in pairs:
        for weight, axes in zip(twin.weights, weights, strict=True):
            for size, axis in zip(weight.shape, axes, strict=False):
                root = root_of(axis.channels)
                if root.kind == "free" and axis.role == "made":
                    sizes.setdefault(root, size)
    return sizes


def _folds(calls: Calls, sizes: dict[Channels, int]) -> dict[Channels, Fold]:
    of_tensors = [axis for call, _ in calls for axes in call.inputs + call.outputs for axis in axes]
    of_weights = [axis.channels for _, weights in calls for axes in weights for axis in axes]
    folds: dict[Channels, Fold] = {}
    for group in alike(of_tensors + of_weights):
        for axis in group.axes:
            sizes.setdefault(axis, axis.size or 1)
        if all(sizes[axis] == axis.size for axis in group.axes):
            folds.update((axis, unfolded(sizes[axis])) for axis in group.axes)
        else:
            folds.update(_group_folds(group, calls, sizes))
    return folds


def _group_folds(group: Alike, calls: Calls, sizes: dict[Channels, int]) -> dict[Channels, Fold]:
    period = group.period
    found = [_incoming(calls, axis) for axis in group.axes]
    points = np.concatenate([rows.reshape(-1, period) for rows, _ in found]).T
    normalized = any(is_normalized for _, is_normalized in found)
    read = np.concatenate([_outgoing(calls, axis).reshape(-1, period) for axis in group.axes]).T
    outgoing = np.linalg.norm(read, axis=1)
    lengths = np.linalg.norm(points, axis=1)
    lengths = np.maximum(lengths, 1e-12 * lengths.max() or 1)
    weights = lengths * outgoing
    is_alone = period == group.axes[0].size
    by_length = is_alone and is_homogeneous(group.axes[0], calls)
    if by_length:
        # The squared error of the student is that of the directions times these weights.
        weights = weights**2
    if by_length or normalized:
        # Compare incoming and outgoing directions: a fold is exact if either is the same.
        outward = read / np.maximum(outgoing, 1e-12 * outgoing.max() or 1)[:, None]
        points = np.concatenate([points / lengths[:, None], outward], axis=1)
    weights = weights / weights.max() + 1e-9 if weights.max() > 0 else np.ones(period)
    labels, count = clusters(group, sizes, points, weights)
    share = weights / np.bincount(labels, weights)[labels]
    factors = {"made": share, "kept": share, "used": np.ones(period), "dotted": np.ones(period)}
    if by_length:
        mean_length = np.bincount(labels, share * lengths)[labels]
        factors["made"], factors["used"] = share * mean_length / lengths, lengths / mean_length
    folds = {}
    for axis in group.axes:
        n = (axis.size or 1) // period
        own = {role: np.tile(factor, n) for role, factor in factors.items()}
        own["dotted"] = own["dotted"] * np.sqrt(count / period)
        folds[axis] = Fold(np.concatenate([labels + i * count for i in range(n)]), count * n, own)
    return folds


def _incoming(calls: Calls, channels: Channels) -> tuple[np.ndarray, bool]:
    """Return incoming weights `(D, N)` of channels, and whether batch normalization scales them."""
    found, is_normalized = [], False
    for call, weights in _first_calls(calls):
        for made in dict.fromkeys(
            root_of(a.channels) for axes in weights for a in axes if a.role == "made"
        ):
            index = places(made).get(channels)
            if index is None:
                continue
            rows = np.concatenate(
                [
                    np.moveaxis(np.asarray(array, "float64"), number, -1).reshape(
                        -1, made.size or 1
                    )
                    for array, axes in zip(call.op.get_weights(), weights, strict=True)
                    for number, axis in enumerate(axes)
                    if axis.role == "made" and root_of(axis.channels) is made
                ]
            )
            norm = _normalization_behind(call, calls, made)
            if norm is not None:
                rows, is_normalized = _scaled_by(norm, rows, bool(call.op.use_bias)), True
            found.append(_gathered(rows, index, channels.size or 1))
    return np.concatenate(found) if found else np.zeros((1, channels.size or 1)), is_normalized


def _gathered(rows: np.ndarray, index: np.ndarray, size: int) -> np.ndarray:
    """Gather columns by channel: `(D, n)` at `n` positions to `(D * repeats, size)`."""
    positions = [np.flatnonzero(index == channel) for channel in range(size)]
    repeats = max(len(own) for own in positions)
    columns = np.zeros((len(rows), repeats, size))
    for channel, own in enumerate(positions):
        columns[:, : len(own), channel] = rows[:, own]
    return columns.reshape(-1, size)


def _normalization_behind(call: Call, calls: Calls, made: Channels) -> Any:
    """Return the batch normalization of the channels `made` directly after a call, or None."""
    activation = getattr(call.op, "activation", None)
    if activation not in (None, keras.activations.linear) or not hasattr(call.op, "use_bias"):
        return None
    for other, _ in calls:
        is_norm = isinstance(other.op, keras.layers.BatchNormalization)
        if not (is_norm and call.outputs and other.inputs[0] is call.outputs[0]):
            continue
        if root_of(other.inputs[0][other.op.axis]) is made:  # It may be of another axis.
            return other.op
    return None


def _scaled_by(norm: Any, rows: np.ndarray, has_bias: bool) -> np.ndarray:
    scale = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    shift = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = scale / np.sqrt(np.asarray(norm.moving_variance, "float64") + norm.epsilon)
    bias = rows[-1] if has_bias else 0.0
    bias = (bias - np.asarray(norm.moving_mean, "float64")) * scale + shift
    return np.concatenate([(rows[:-1] if has_bias else rows) * scale, [bias]])


def _outgoing(calls: Calls, channels: Channels) -> np.ndarray:
    """Return the outgoing weights `(D, N)` of the channels."""
    found = [np.zeros((1, channels.size or 1))]
    for call, weights in _first_calls(calls):
        for array, axes in zip(call.op.get_weights(), weights, strict=True):
            for number, axis in enumerate(axes):
                index = places(axis.channels).get(channels)
                if axis.role != "used" or index is None:
                    continue
                # Group by group, each with its own input channels.
                parts = np.split(np.asarray(array, "float64"), axis.groups, axis=-1)
                rows = [
                    np.moveaxis(part, number, -1).reshape(-1, part.shape[number]) for part in parts
                ]
                found.append(_gathered(np.concatenate(rows, axis=-1), index, channels.size or 1))
    return np.concatenate(found)


def _first_calls(calls: Calls) -> Calls:
    first: dict[int, tuple[Call, WeightAxes]] = {}
    for call, weights in calls:
        if weights:
            first.setdefault(id(call.op), (call, weights))
    return list(first.values())


def _folded(
    layer: Any, twin: Any, weights: WeightAxes, folds: dict[Channels, Fold]
) -> list[np.ndarray]:
    """Fold the weights of a layer to the shapes of the student's layer."""
    arrays = []
    for array, axes, weight in zip(layer.get_weights(), weights, twin.weights, strict=True):
        folded = array
        for number in reversed(range(len(axes))):  # Outputs first, so that groups stay in order.
            folded = _fold_axis(folded, number, axes[number], folds)
        if folded.shape != tuple(weight.shape):
            raise InputError(
                "`student` must be a narrower copy of the teacher, layer by layer. Received: layer "
                f"{twin.name!r} with a weight of shape {tuple(weight.shape)}; the weight of the "
                f"teacher's {layer.name!r} of shape {array.shape} folds to {folded.shape}. Start "
                "from random weights."
            )
        arrays.append(folded.astype(array.dtype))
    return arrays


def _fold_axis(
    array: np.ndarray, number: int, axis: WeightAxis, folds: dict[Channels, Fold]
) -> np.ndarray:
    if not free_parts(axis.channels):
        return array
    fold = fold_of(axis.channels, folds)
    if fold.size == len(fold.labels):
        return array
    factor = fold.factors[axis.role]
    if axis.groups == 1:
        return _summed(array, number, fold.labels, factor)
    # The outputs are already folded; each group has its own inputs.
    parts = np.split(array, axis.groups, axis=-1)
    labels, factors = np.split(fold.labels, axis.groups), np.split(factor, axis.groups)
    folded = [
        _summed(part, number, own - own.min(), by)
        for part, own, by in zip(parts, labels, factors, strict=True)
    ]
    return np.concatenate(folded, axis=-1)


def _summed(array: np.ndarray, number: int, labels: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Multiply the entries of an axis by their factors and add those with the same label."""
    order = np.argsort(labels, kind="stable")
    begins = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    moved = np.moveaxis(array, number, 0)[order].astype("float64")
    moved *= factor[order].reshape(-1, *[1] * (array.ndim - 1))
    return np.moveaxis(np.add.reduceat(moved, begins, axis=0), 0, number)
