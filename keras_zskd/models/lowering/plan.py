"""`Plan`: which layers of a model run in which faster way."""

from typing import Any

import keras

from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.models.lowering.blocked import BlockConvolution

_MAX_BLOCK = 4
# A convolution that reads more channels than this keeps the matrix units busy by itself.
_FEW_CHANNELS = 16
# Blocks that multiply by zero more often than this cost more than they save.
_MAX_WASTE = 3.0
# Layers and functions are known by what they are, not by a base class or a name: a subclass may
# compute something else, and so may a user's function that is called `relu`.
_RISING = {
    getattr(keras.activations, name)
    for name in (
        "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "softplus", "sigmoid",
        "tanh", "hard_sigmoid", "hard_tanh", "log_sigmoid", "softsign",
    )
}  # fmt: skip
_RECTIFIERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
_POINTWISE = (keras.layers.Activation, *_RECTIFIERS)
# What XLA on a CPU runs at least as fast as TensorFlow does.
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
        nodes: All nodes but the input, in an order in which they can run.
        convolutions: Node id of each convolution that is run here: its geometry on blocks, or None
            where it runs as a plain convolution.
        folded: Node id of a convolution: the batch normalisation that is folded into it.
        norms: Node ids of the other batch normalisations that run as one multiplication and addition.
        skipped: Node ids that have nothing left to do.
        pooled: Node ids of poolings that run as the maximum of slices also on plain maps.
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
        for node in reversed(self.nodes):  # A block is as large as what comes behind it wants.
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
        # A strided 1x1 convolution is run here for its gradient, see `lowered._plain_convolution`.
        is_strided = tuple(layer.kernel_size) == (1, 1) and max(layer.strides) > 1
        if geometry is not None or id(node) in self.folded or is_strided:
            self.convolutions[id(node)] = geometry

    def _geometry(self, node: Any) -> BlockConvolution | None:
        """How a convolution runs on blocks, or None if it should not."""
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
        """The block in which what reads the node would like to have it."""
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


def compiles_well(model: keras.Model) -> bool:
    """Whether XLA on a CPU runs the model, lowered, faster than TensorFlow's own kernels.

    So it is where every convolution reads few channels, and no layer is one that XLA is slow at.
    """
    plan = Plan(model, compiled=True, fold=True)
    return all(
        plan.convolutions.get(id(node)) is not None
        or is_2x2_pooling(node)
        or type(node.operation) in _COMPILES_WELL
        for node in plan.nodes
    )


def is_2x2_pooling(node: Any) -> bool:
    """Whether a node is a 2x2 pooling of stride 2 over an even height and width."""
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
    """Whether a layer is a batch normalisation over the last axis of what it gets."""
    if type(layer) is not keras.layers.BatchNormalization:
        return False
    return layer.axis in (-1, layer.input_spec.ndim - 1)


def is_pointwise(layer: Any) -> bool:
    """Whether a layer is an activation that looks at each value alone."""
    return type(layer) in _RECTIFIERS or (
        type(layer) is keras.layers.Activation and is_rising(layer)
    )


def is_rising(layer: Any) -> bool:
    """Whether the activation of a layer never falls, so that it may wait until after a maximum."""
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
