"""`start_from`: a narrower student that starts from its teacher, similar channels folded into one."""

from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.channel_rules import Axes, Call
from keras_zskd.models.slimming.channels import Channels, length_of, parts_of, root_of
from keras_zskd.models.slimming.clusters import k_means
from keras_zskd.models.slimming.reading import read_channels
from keras_zskd.models.slimming.weight_axes import WeightAxis, weight_axes

# What passes a positive factor on: f(a x) = a f(x).
_HOMOGENEOUS_ACTIVATIONS = ("linear", "relu", "leaky_relu")
_HOMOGENEOUS = (
    "Activation", "ReLU", "LeakyReLU", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "Flatten",
    "Reshape", "Permute", "InputLayer", "MaxPooling1D", "MaxPooling2D", "AveragePooling1D",
    "AveragePooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "ZeroPadding1D", "ZeroPadding2D", "Concatenate", "Relu",
)  # fmt: skip


def start_from(teacher: keras.Model, student: keras.Model) -> keras.Model:
    """Fill a narrower student with its teacher's weights, similar channels folded into one.

    The channels of a layer are put into as many clusters as the student has channels, by weighted
    k-means on the incoming weights and bias of each channel. A cluster becomes one channel: the mean
    of its incoming weights, the sum of its outgoing ones (Model Folding, Wang et al., ICLR 2025).
    Where every function between them passes a positive factor on, as ReLU does, only the direction of
    the incoming weights counts and lengths go into the outgoing ones: parallel channels are folded
    without an error. Channels that residual additions tie together get the same clusters. Batch
    normalization gets the means of its parameters and statistics; `repair_batch_norms` estimates the
    statistics anew.

    Args:
        teacher: A trained Functional or Sequential classifier.
        student: Of the same layers in the same order, no wider; as `slim(teacher, width)` makes it.

    Returns:
        The student, whose weights were set.

    Raises:
        InputError: If the student is not a narrower copy of the teacher, or a layer is of a kind that
            cannot be folded. The student is not changed then.
    """
    flat = inline(teacher, share_layer)
    calls = _first_calls(read_channels(flat).calls)
    narrow = [layer for layer in inline(student, share_layer).layers if layer.weights]
    wide = [layer for layer in flat.layers if layer.weights]
    kinds = [[type(layer).__name__ for layer in side] for side in (wide, narrow)]
    if kinds[0] != kinds[1]:
        raise InputError(
            "`student` must have the teacher's layers in the same order, to start from its weights. "
            f"Received: {kinds[1]} for {kinds[0]}. Start from random weights."
        )
    folds = _Folds(calls, {id(one): other for one, other in zip(wide, narrow, strict=True)})
    found = [folds.folded(layer, twin) for layer, twin in zip(wide, narrow, strict=True)]
    for twin, weights in zip(narrow, found, strict=True):
        twin.set_weights(weights)
    return student


def _first_calls(calls: list[tuple[Call, list[Axes]]]) -> dict[int, tuple[Call, list[Axes]]]:
    """By `id` of the layer or operation, in the order of the graph."""
    first: dict[int, tuple[Call, list[Axes]]] = {}
    for call, outputs in calls:
        first.setdefault(id(call.op), (call, outputs))
    return first


class _Folds:
    """The clusters of all channels of a teacher.

    Args:
        calls: The first call of each layer.
        twins: The student's layer, by `id` of the teacher's.
    """

    def __init__(self, calls: dict[int, tuple[Call, list[Axes]]], twins: dict[int, Any]):
        self._calls = calls
        self._axes = {key: weight_axes(*calls[key]) for key in calls if key in twins}
        self._members: dict[int, np.ndarray] = {}  # Cluster of each channel, by `id` of the root.
        self._scales: dict[int, np.ndarray] = {}  # What outgoing weights are multiplied by.
        self._weights: dict[int, np.ndarray] = {}  # What means are weighted by.
        for root, size in self._sizes(twins):
            self._cluster(root, size)

    def folded(self, layer: Any, twin: Any) -> list[np.ndarray]:
        """The teacher's weights of a layer in the shapes of the student's."""
        arrays, axes = layer.get_weights(), self._axes[id(layer)]
        shapes = [tuple(weight.shape) for weight in twin.weights]
        if axes is not None and [len(s) for s in shapes] == [len(a) for a in axes]:
            arrays = [self._fold(a, by) for a, by in zip(arrays, axes, strict=True)]
        if [a.shape for a in arrays] != shapes:
            raise InputError(
                f"Layer {layer.name!r} of type {type(layer).__name__} cannot be folded to weights of "
                f"shapes {shapes}. Start from random weights."
            )
        return arrays

    def _fold(self, array: np.ndarray, axes: list[WeightAxis]) -> np.ndarray:
        for number, (channels, is_input, groups) in enumerate(axes):
            members = self._assignment(channels)
            scales, weights = (
                self._spread(channels, self._scales),
                self._spread(channels, self._weights),
            )
            if groups > 1:
                members, scales, weights = (
                    x[: len(x) // groups] for x in (members, scales, weights)
                )
            matrix = np.zeros((members.max() + 1, len(members)))
            if is_input:
                matrix[members, np.arange(len(members))] = scales
            else:
                # A direction of the mean length: its length went into the outgoing weights.
                matrix[members, np.arange(len(members))] = weights / scales
                matrix /= np.bincount(members, weights)[:, None]
            array = np.moveaxis(np.tensordot(matrix, array, (1, number)), 0, number)
        return array.astype("float32")

    def _layer(self, key: int) -> Any:
        return self._calls[key][0].op

    def _sizes(self, twins: dict[int, Any]) -> list[tuple[Channels, int]]:
        """Each root that a student's layer narrows, and to how many channels."""
        found: dict[int, tuple[Channels, int]] = {}
        for key, axes in self._axes.items():
            for weight, by in zip(twins[key].weights, axes or [], strict=False):
                if len(weight.shape) != len(by):
                    continue
                for size, axis in zip(weight.shape, by, strict=True):
                    root = root_of(axis.channels)
                    if root.kind == "free" and not axis.is_input:
                        found.setdefault(id(root), (root, size))
        return list(found.values())

    def _cluster(self, root: Channels, size: int) -> None:
        total = root.size or 0
        if size > total or total % root.multiple or size % root.multiple:
            raise InputError(
                f"A layer of {total} channels cannot be folded into {size}. Start from random weights."
            )
        producers = self._producers(root)
        features = np.concatenate([features for _, features, _ in producers]).T
        length = np.linalg.norm(features, axis=1) + 1e-12
        importance = length * (np.sqrt(self._outgoing(root)) + 1e-12)
        scaled = len(producers) == 1 and self._is_homogeneous(root, producers[0][0])
        has_norm = any(norm is not None for _, _, norm in producers)
        points = features / length[:, None] if scaled or has_norm else features
        blocks = root.multiple
        # Groups are folded alike, so that each keeps its own channels.
        joined = points.reshape(blocks, -1, points.shape[1]).swapaxes(0, 1)
        members = k_means(
            joined.reshape(total // blocks, -1),
            importance.reshape(blocks, -1).sum(0),
            size // blocks,
        )
        members = np.concatenate([members + block * (size // blocks) for block in range(blocks)])
        self._members[id(root)] = members
        mean_length = np.bincount(members, importance * length) / np.bincount(members, importance)
        self._scales[id(root)] = length / mean_length[members] if scaled else np.ones(total)
        self._weights[id(root)] = importance if scaled or has_norm else np.ones(total)

    def _producers(self, root: Channels) -> list[tuple[Any, np.ndarray, Any]]:
        """Layers that make these channels, what comes into each, and the batch normalization behind.

        Incoming weights and bias are `(features, channels)`, as the normalization passes them on.
        """
        found: list[tuple[Any, np.ndarray, Any]] = []
        for key, axes in self._axes.items():
            layer, own = self._layer(key), []
            for array, by in zip(layer.get_weights(), axes or [], strict=False):
                outs = [
                    n
                    for n, axis in enumerate(by)
                    if not axis.is_input and root_of(axis.channels) is root
                ]
                if outs:
                    own.append(np.moveaxis(array, outs[0], -1).reshape(-1, array.shape[outs[0]]))
            is_norm = isinstance(layer, keras.layers.BatchNormalization)
            if own and is_norm and found and found[-1][2] is None:
                producer, features, _ = found[-1]
                found[-1] = (producer, _through(layer, features, producer.use_bias), layer)
            elif own and _makes_channels(layer, axes or []):
                found.append((layer, np.concatenate(own), None))
        return found

    def _outgoing(self, root: Channels) -> np.ndarray:
        """Sum of the squared outgoing weights of each channel, 0 where nothing is found."""
        total = np.zeros(root.size or 0)
        for key, axes in self._axes.items():
            for array, by in zip(self._layer(key).get_weights(), axes or [], strict=False):
                for number, axis in enumerate(by):
                    if not axis.is_input or root not in parts_of(axis.channels):
                        continue
                    others = tuple(n for n in range(array.ndim) if n != number)
                    squares = np.tile((array.astype(float) ** 2).sum(axis=others), axis.groups)
                    places = self._places(axis.channels, root)
                    np.add.at(total, places[places >= 0], squares[places >= 0])
        return total

    def _is_homogeneous(self, root: Channels, producer: Any) -> bool:
        """Whether a positive factor of a channel arrives where its outgoing weights are."""
        if not _has_plain_activation(producer):
            return False
        for call, outputs in self._calls.values():
            if call.op is producer:
                continue
            is_out = any(root in parts_of(axis) for axes in outputs for axis in axes)
            is_in = any(root in parts_of(axis) for axes in call.inputs for axis in axes)
            kind = type(call.op).__name__
            if is_out and (kind not in _HOMOGENEOUS or not _has_plain_activation(call.op)):
                return False
            summed = [
                by for axes in self._axes.get(id(call.op)) or [] for by in axes if by.is_input
            ]
            if is_in and not is_out and not any(root in parts_of(by.channels) for by in summed):
                return False
        return True

    def _assignment(self, channels: Channels) -> np.ndarray:
        """The student's channel of each of the teacher's."""
        root = root_of(channels)
        if not root.parts:
            return self._members.get(id(root), np.arange(root.size or 1))
        parts = [(self._assignment(part), length_of(part, self._length)) for part in root.parts]
        if root.kind == "quotient":
            return parts[0][0][: (root.size or 1)]
        members = np.zeros(1 if root.kind == "product" else 0, int)
        begin = 0
        for own, length in parts:
            if root.kind == "product":
                members = (members[:, None] * length + own).ravel()
            else:
                members = np.concatenate([members, begin + own])
                begin += length
        return members

    def _spread(self, channels: Channels, of_root: dict[int, np.ndarray]) -> np.ndarray:
        """A value of each channel of an axis, from those of the free axes that it is made of."""
        root = root_of(channels)
        if not root.parts:
            return of_root.get(id(root), np.ones(root.size or 1))
        parts = [self._spread(part, of_root) for part in root.parts]
        if root.kind == "total":
            return np.concatenate(parts)
        return parts[0][: (root.size or 1)] if root.kind == "quotient" else _outer(parts)

    def _places(self, channels: Channels, free: Channels) -> np.ndarray:
        """Which channel of a free axis each channel of an axis comes from; -1 for none."""
        root = root_of(channels)
        if root is free:
            return np.arange(root.size or 1)
        if not root.parts:
            return np.full(root.size or 1, -1)
        parts = [self._places(part, free) for part in root.parts]
        if root.kind == "total":
            return np.concatenate(parts)
        if root.kind == "quotient":
            return parts[0][: (root.size or 1)]
        grid = np.meshgrid(*parts, indexing="ij")
        return np.asarray(np.max(grid, axis=0)).ravel()

    def _length(self, root: Channels) -> int:
        members = self._members.get(id(root))
        return (root.size or 1) if members is None else int(members.max()) + 1


def _through(norm: Any, features: np.ndarray, has_bias: bool) -> np.ndarray:
    """Incoming weights and bias as a batch normalization in inference passes them on."""
    size = features.shape[1]
    gamma = np.asarray(norm.gamma) if norm.scale else np.ones(size)
    beta = np.asarray(norm.beta) if norm.center else np.zeros(size)
    factor = gamma / np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    bias = features[-1:] if has_bias else np.zeros((1, size))
    shifted = (bias - np.asarray(norm.moving_mean)) * factor + beta
    return np.concatenate([(features[:-1] if has_bias else features) * factor, shifted])


def _makes_channels(layer: Any, axes: list[list[WeightAxis]]) -> bool:
    """Whether the layer mixes inputs into new channels, other than one parameter per channel."""
    is_embedding = isinstance(layer, keras.layers.Embedding)
    return is_embedding or any(axis.is_input for by in axes for axis in by)


def _has_plain_activation(op: Any) -> bool:
    if getattr(op, "max_value", None) is not None or getattr(op, "threshold", None):
        return False
    activation = getattr(op, "activation", None)
    return activation is None or getattr(activation, "__name__", "") in _HOMOGENEOUS_ACTIVATIONS


def _outer(vectors: list[np.ndarray]) -> np.ndarray:
    product = np.ones(1)
    for vector in vectors:
        product = np.multiply.outer(product, vector).ravel()
    return product
