"""`Plan`: how each layer of a model is made to run faster."""

from typing import Any

import keras

from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.models.lowering.blocked import BlockConvolution

_MAX_BLOCK = 4
# A convolution with more input channels than this uses the matrix units well on its own.
_FEW_CHANNELS = 16
# With more multiplications than this, relative to the plain convolution, blocks do not pay off.
_MAX_WASTE = 3.0
# Increasing activations. Layers and functions are compared by identity, not by base class or name:
# a subclass, or a custom function called `relu`, may compute something else.
_RISING = {
    getattr(keras.activations, name)
    for name in (
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "sigmoid",
        "tanh", "hard_sigmoid", "hard_tanh", "log_sigmoid", "softsign",
    )
}  # fmt: skip
_RECTIFIERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_POINTWISE = (keras.layers.Activation, *_RECTIFIERS)
# Layers that XLA runs at least as fast as TensorFlow on a CPU.
_COMPILES_WELL = (
    *_POINTWISE,
    keras.layers.InputLayer,
    keras.layers.Dense,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Dropout,
    keras.layers.Identity,
    keras.layers.Rescaling,
    keras.layers.Normalization,
    keras.layers.ZeroPadding2D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.Add,
    keras.layers.Concatenate,
)


class Plan:
    """How each node of a model's graph runs.

    Attributes:
        nodes: All nodes except the input, in execution order.
        convolutions: Maps the node id of each convolution run by `Lowered` to its geometry on
            blocks, or to None if it runs as a plain convolution.
        folded: Maps the node id of a convolution to the batch normalization folded into it.
        norms: Node ids of other batch normalizations, run as one multiplication and one addition.
        skipped: Node ids with nothing left to do.
        pooled: Node ids of pooling layers that run on slices even if their input has no blocks.
    """

    def __init__(self, model: keras.Model, compiled: bool, fold: bool):
        self.nodes = [node for node in nodes_of(model) if not node.is_input]
        self._readers: dict[int, list[Any]] = {}
        for node in self.nodes:
            for tensor in node.input_tensors:
                self._readers.setdefault(id(tensor), []).append(node)
        self._ends = {id(tensor) for tensor in model.outputs}
        self._compiled = compiled
        self.convolutions: dict[int, BlockConvolution | None] = {}
        self.folded: dict[int, Any] = {}
        self.norms: set[int] = set()
        self.skipped: set[int] = set()
        self.pooled: set[int] = set()
        for node in reversed(self.nodes):  # Block sizes depend on later nodes.
            self._plan(node, fold)

    def _plan(self, node: Any, fold: bool) -> None:
        layer = node.operation
        if self._compiled and is_2x2_pooling(node):
            self.pooled.add(id(node))
        if fold and is_channel_norm(layer):
            self.norms.add(id(node))
        if not _is_plain_convolution(layer):
            return
        reader = self._only_reader(node)
        if (
            fold
            and reader is not None
            and is_channel_norm(reader.operation)
            and layer.activation is keras.activations.linear
        ):
            self.folded[id(node)] = reader.operation
            self.skipped.add(id(reader))
            self.norms.remove(id(reader))
        geometry = self._geometry(node)
        # For the gradient of a strided 1x1 convolution, see `lowered._plain_convolution`.
        is_strided = tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1
        if geometry is not None or id(node) in self.folded or is_strided:
            self.convolutions[id(node)] = geometry

    def _geometry(self, node: Any) -> BlockConvolution | None:
        """Return the geometry of a convolution on blocks, or None if it runs without blocks."""
        layer, (_, height, width, channels) = node.operation, node.input_tensors[0].shape
        size = tuple(node.outputs[0].shape[1:3])
        few = channels <= _FEW_CHANNELS if self._compiled else channels <= 4
        if (
            not few
            or layer.kernel_size[0] != layer.kernel_size[1]
            or layer.strides[0] != layer.strides[1]
            or tuple(layer.dilation_rate) != (1, 1)
            or layer.strides[0] not in (1, 2, 4)
            or None in (height, width)
        ):
            return None
        kernel, stride = layer.kernel_size[0], layer.strides[0]
        padding = (0, 0)
        if layer.padding == "same":
            padding = tuple(
                max(0, (out - 1) * stride + kernel - have) // 2
                for out, have in zip(size, (height, width), strict=True)
            )
        wanted = min(_MAX_BLOCK, max(2, self._wanted(node)))
        while wanted >= 1:
            geometry = BlockConvolution(kernel, stride, padding, size, wanted)
            block_in = geometry.block_in
            fits = not (
                size[0] % wanted or size[1] % wanted or height % block_in or width % block_in
            )
            if fits and geometry.waste <= _MAX_WASTE:
                return geometry
            wanted //= 2
        return None

    def _wanted(self, node: Any) -> int:
        """Return the block size preferred by the only node that reads this node, or 1."""
        reader = self._only_reader(node)
        if reader is None:
            return 1
        if is_2x2_pooling(reader):
            return 2 * self._wanted(reader)
        geometry = self.convolutions.get(id(reader))
        if geometry is not None:
            return geometry.block_in
        if is_pointwise(reader.operation) or id(reader) in self.skipped:
            return self._wanted(reader)
        return 1

    def _only_reader(self, node: Any) -> Any:
        tensor = node.outputs[0]
        readers = self._readers.get(id(tensor), [])
        return readers[0] if len(readers) == 1 and id(tensor) not in self._ends else None


def compiles_well(model: keras.Model, training: bool = False) -> bool:
    """Whether XLA on a CPU runs the lowered model faster than the kernels of TensorFlow.

    True if all convolutions have few input channels and none of the layers is slow in XLA. Batch
    normalization is slow in training mode, in which it reduces over whole batches.
    """
    plan = Plan(model, compiled=True, fold=True)
    kinds = set(_COMPILES_WELL) - ({keras.layers.BatchNormalization} if training else set())
    return all(
        plan.convolutions.get(id(node)) is not None
        or is_2x2_pooling(node)
        or type(node.operation) in kinds
        for node in plan.nodes
    )


def is_2x2_pooling(node: Any) -> bool:
    """Whether a node is a 2x2 pooling with stride 2 on an even height and width."""
    layer = node.operation
    if type(layer) not in (keras.layers.MaxPooling2D, keras.layers.AveragePooling2D):
        return False
    height, width = node.input_tensors[0].shape[1:3]
    return (
        tuple(layer.pool_size) == tuple(layer.strides) == (2, 2)
        and layer.data_format == "channels_last"
        and None not in (height, width)
        and height % 2 == width % 2 == 0
    )


def is_channel_norm(layer: Any) -> bool:
    """Whether a layer is a batch normalization over the last axis of its input."""
    if type(layer) is not keras.layers.BatchNormalization:
        return False
    return layer.axis in (-1, layer.input_spec.ndim - 1)


def is_pointwise(layer: Any) -> bool:
    """Whether a layer is an elementwise activation."""
    return type(layer) in _RECTIFIERS or (
        type(layer) is keras.layers.Activation and is_increasing(layer)
    )


def is_increasing(layer: Any) -> bool:
    """Whether the activation of a layer is increasing: it can be applied after a maximum."""
    if type(layer) in _RECTIFIERS:
        slopes = (getattr(layer, name, 0) for name in ("negative_slope", "alpha"))
        return not getattr(layer, "threshold", 0) and all(slope >= 0 for slope in slopes)
    activation = getattr(layer, "activation", None)
    return any(activation is known for known in _RISING)


def _is_plain_convolution(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups == 1
        and layer.data_format == "channels_last"
        and layer.lora_rank is None
        and layer.activity_regularizer is None
        and getattr(layer, "quantization_mode", None) is None
    )
