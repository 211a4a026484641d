"""`Lowered`: a Functional model run with faster, equivalent arithmetic."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.models.alexnet_pair import LocalResponseNormalization
from keras_zskd.models.lowering.blocked import Blocked, average_pool, max_pool
from keras_zskd.models.lowering.norms import (
    has_fused_training,
    normalize_batch,
    normalize_response,
    scale_and_shift,
)
from keras_zskd.models.lowering.plan import Plan, is_2x2_pooling, is_increasing, is_pointwise


class Lowered:
    """A faster function of tensors that is equivalent to a flat Functional model.

    * A convolution with few input channels runs on blocks of pixels (`BlockConvolution`), and a 2x2
      max pooling after it as the maximum of slices, with no conversion in between.
    * Batch normalization in inference mode directly after a convolution is folded into the kernel.
      Elsewhere it is one multiplication and one addition.
    * Local response normalization runs in few passes and on all cores.
    * All other layers are called unchanged.

    Weights are read from the layers at each call (unless `frozen`). The function is therefore
    differentiable with respect to the weights and the input, and training it trains the model.

    Args:
        model: Flat Functional model with one input.
        outputs: Symbolic tensors of the model. Defaults to its outputs.
        compiled: Whether the caller compiles the function with XLA. On a CPU, the convolutions of
            XLA are slow and its matrix products are fast, so convolutions on blocks run as matrix
            products.
        training: Whether the function is for training. Batch normalization layers are then called
            unchanged, or run as one operation (`normalize_batch`).
        frozen: Whether the weights become constants when a `tf.function` that calls this object is
            traced. XLA stores constants in the layout that suits it best, which makes the whole
            loop faster by a third or more.
    """

    def __init__(
        self,
        model: keras.Model,
        outputs: Sequence[Any] | None = None,
        compiled: bool = False,
        training: bool = False,
        frozen: bool = False,
    ):
        outputs = list(model.outputs if outputs is None else outputs)
        self.training = training
        self.compiled = compiled
        self.frozen = frozen
        self._graph = keras.Model(model.inputs, outputs)
        self._plan = Plan(self._graph, compiled, fold=not training)

    def weights(self) -> dict[int, tuple[Any, Any]]:
        """Compute the weights in the form used by each node, once before a loop.

        Returns:
            By node: kernel and bias of a convolution, scale and offset of a batch normalization.
        """
        convolutions, norms = self._plan.convolutions, self._plan.norms
        return {
            id(node): self._weights_of(node)
            if id(node) in convolutions
            else self._affine_of(node.operation)
            for node in self._plan.nodes
            if id(node) in convolutions or id(node) in norms
        }

    def __call__(self, x: Any, weights: dict[int, tuple[Any, Any]] | None = None) -> list[Any]:
        """Compute the outputs for `x` `(N, *input_shape)`.

        Args:
            x: The input.
            weights: Result of `weights`. Computed by default.
        """
        weights = self.weights() if weights is None else weights
        values: dict[int, Any] = {id(self._graph.inputs[0]): tf.convert_to_tensor(x)}
        for node in self._plan.nodes:
            arguments, keywords = node.arguments.fill_in(values)
            given = [v for v in keras.tree.flatten([arguments, keywords]) if _is_value(v)]
            result = self._fast(node, given, weights)
            if result is None:
                arguments, keywords = keras.tree.map_structure(_plain, (arguments, keywords))
                if getattr(node.operation, "_call_has_training_arg", False):
                    keywords["training"] = self.training
                result = node.operation(*arguments, **keywords)
            for tensor, value in zip(node.outputs, keras.tree.flatten(result), strict=True):
                values[id(tensor)] = value
        return [_plain(values[id(output)]) for output in self._graph.outputs]

    def _fast(self, node: Any, given: list[Any], weights: dict[int, tuple[Any, Any]]) -> Any:
        """Compute a node in its faster form, or return None if it has none."""
        layer = node.operation
        if id(node) in self._plan.skipped:
            return given[0]
        if id(node) in self._plan.convolutions:
            return self._convolve(node, given[0], *weights[id(node)])
        if id(node) in self._plan.norms:
            x = tf.cast(_plain(given[0]), layer.compute_dtype)
            return scale_and_shift(x, *weights[id(node)])
        if self.training and not self.compiled and len(given) == 1 and has_fused_training(layer):
            return normalize_batch(_plain(given[0]), layer)
        # Not for subclasses, which may compute something else.
        if type(layer) is LocalResponseNormalization:
            settings = (layer.depth_radius, layer.bias, layer.alpha, layer.beta)
            return normalize_response(tf.cast(_plain(given[0]), layer.compute_dtype), *settings)
        if not given or not isinstance(given[0], Blocked):
            if id(node) in self._plan.pooled:
                given = [Blocked(given[0], 1).reblock(2)]
            else:
                return None
        maps = given[0]
        if is_2x2_pooling(node):
            maps = maps if maps.block > 1 else maps.reblock(2)
            is_max = type(layer) is keras.layers.MaxPooling2D
            return max_pool(maps) if is_max else average_pool(maps)
        if is_pointwise(layer) and len(given) == 1:
            maps = maps if maps.activation is None else maps.resolve()
            if is_increasing(layer):
                return Blocked(maps.values, maps.block, maps.shift, layer)
            return Blocked(layer(maps.resolve().values), maps.block)
        return None

    def _weights_of(self, node: Any) -> tuple[Any, Any]:
        """Return kernel (on blocks if planned) and bias or None, in the precision of the layer."""
        layer = node.operation
        kernel = self._value(layer.kernel)
        shift = self._value(layer.bias) if layer.use_bias else None
        norm = self._plan.folded.get(id(node))
        if norm is not None:
            scale, offset = self._affine_of(norm)
            kernel *= scale
            shift = offset if shift is None else shift * scale + offset
        kernel = tf.cast(kernel, layer.compute_dtype)
        geometry = self._plan.convolutions[id(node)]
        if geometry is not None:
            kernel = geometry.weights(kernel)
        return kernel, None if shift is None else tf.cast(shift, layer.compute_dtype)

    def _affine_of(self, norm: keras.layers.BatchNormalization) -> tuple[Any, Any]:
        """Return scale and offset `(C,)` of a batch normalization in inference mode, in float32."""
        scale = tf.math.rsqrt(self._value(norm.moving_variance) + norm.epsilon)
        if norm.scale:
            scale *= self._value(norm.gamma)
        offset = -self._value(norm.moving_mean) * scale
        if norm.center:
            offset += self._value(norm.beta)
        return scale, offset

    def _value(self, variable: Any) -> Any:
        """Return the value of a weight, as a constant if frozen."""
        if not self.frozen:
            return tf.convert_to_tensor(variable)
        with tf.init_scope():
            value = np.asarray(variable)
        return tf.constant(value)

    def _convolve(self, node: Any, x: Any, kernel: Any, shift: Any) -> Blocked:
        layer = node.operation
        geometry = self._plan.convolutions[id(node)]
        if geometry is None:
            product = Blocked(_plain_convolution(_plain(x), kernel, layer), 1)
        else:
            maps = x if isinstance(x, Blocked) else Blocked(tf.cast(x, layer.compute_dtype), 1)
            product = (geometry.by_matmul if self.compiled else geometry.by_convolution)(
                maps, kernel
            )
        activation = layer.activation
        linear = activation is None or activation is keras.activations.linear
        lowered = Blocked(product.values, product.block, shift, None if linear else activation)
        if product.block == 1:
            return lowered.resolve()
        # Only an increasing activation can be applied after a pooling of blocks.
        if linear or is_increasing(layer):
            return lowered
        # An activation over the channels of a pixel, such as softmax, must not see other pixels.
        return Blocked(activation(Blocked(product.values, product.block, shift).dense()), 1)


def _plain_convolution(x: Any, kernel: Any, layer: keras.layers.Conv2D) -> Any:
    x, strides = tf.cast(x, layer.compute_dtype), tuple(layer.strides)
    if tuple(layer.kernel_size) == (1, 1) and max(strides) > 1:
        # The result depends only on some of the pixels. In TensorFlow 2.21 on a CPU, the gradient
        # of a strided 1x1 convolution with respect to its input writes outside of its memory.
        x, strides = _every(x, strides), (1, 1)
    return tf.nn.conv2d(x, kernel, strides, layer.padding.upper(), dilations=layer.dilation_rate)


@compiled_on_cpu
def _every(x: Any, strides: tuple[int, int]) -> Any:
    """Select pixels by stride. Uncompiled, this would take longer than the convolution."""
    return x[:, :: strides[0], :: strides[1]]


def _is_value(value: Any) -> bool:
    return isinstance(value, Blocked) or tf.is_tensor(value)


def _plain(value: Any) -> Any:
    return value.dense() if isinstance(value, Blocked) else value
