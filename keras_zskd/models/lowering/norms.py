"""Arithmetic of normalization layers, in few passes over the feature maps.

All computations are in float32. Feature maps are read and written in their own dtype.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.core.processor import has_gpu
from keras_zskd.models.lowering.plan import is_channel_norm


@tf.custom_gradient
def scale_and_shift(x: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
    """Compute `scale * x + offset` for maps `(..., C)`, with `scale` and `offset` `(C,)`.

    This is batch normalization in inference mode. The result has the dtype of `x`.
    """

    # Three separate computations: TensorFlow skips those whose results are not used, but would run
    # all of a single compiled function.
    def gradient(upstream: Any) -> tuple[Any, Any, Any]:
        axes = list(range(len(x.shape) - 1))
        wide = tf.cast(upstream, tf.float32)
        by_scale = tf.reduce_sum(wide * tf.cast(x, tf.float32), axes)
        return _line(upstream, scale, 0.0), by_scale, tf.reduce_sum(wide, axes)

    return _line(x, scale, offset), gradient


def has_fused_training(layer: Any) -> bool:
    """Whether `normalize_batch` computes the same as a layer in training mode, and faster."""
    return (
        is_channel_norm(layer)
        and layer.input_spec.ndim == 4
        and layer.compute_dtype == "float32"
        and layer.trainable
        and not layer.renorm
        and not layer.synchronized
        and not has_gpu()
    )


def normalize_batch(x: Any, layer: keras.layers.BatchNormalization) -> Any:
    """Call a batch normalization for which `has_fused_training` in training mode.

    One operation of TensorFlow and one for its gradient, where Keras 3.15 makes several passes over
    the maps. The moving statistics are updated as in Keras, with the variance of the batch.

    Args:
        x: Feature maps `(N, H, W, C)`, float32.
        layer: The layer.
    """
    channels = x.shape[-1]
    scale = tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones((channels,))
    offset = tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros((channels,))
    normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=[], variance=[], epsilon=layer.epsilon
    )
    # The operation returns the unbiased estimate.
    count = tf.cast(tf.size(x) // channels, tf.float32)
    variance *= tf.maximum(count - 1.0, 1.0) / count
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(layer.momentum * moving + (1.0 - layer.momentum) * value)
    return normalized


@tf.custom_gradient
def moments(x: Any) -> tuple[Any, Any]:
    """Compute mean and variance `(G, C)` of `(G, M, C)` over M, in float32.

    With `d mean / d x = 1 / M` and `d variance / d x = 2 (x - mean) / M`, the gradient takes one
    multiplication and one addition per value. That of `tf.nn.moments` takes several passes.
    """
    mean, variance = _mean_and_variance(x)

    def gradient(by_mean: Any, by_variance: Any) -> Any:
        count = tf.cast(tf.shape(x)[1], tf.float32)
        slope = 2.0 * by_variance / count
        return _line(x, slope[:, None], (by_mean / count - slope * mean)[:, None])

    return (mean, variance), gradient


@compiled_on_cpu
def _line(x: Any, slope: Any, offset: Any) -> Any:
    return tf.cast(slope * tf.cast(x, tf.float32) + offset, x.dtype)


@compiled_on_cpu
def _mean_and_variance(x: Any) -> tuple[Any, Any]:
    return tf.nn.moments(tf.cast(x, tf.float32), axes=[1])


def normalize_response(x: Any, depth_radius: int, bias: float, alpha: float, beta: float) -> Any:
    """Compute `x[c] / (bias + alpha * energy[c])^beta`, with the energy of neighboring channels.

    See Krizhevsky, Sutskever, Hinton (NeurIPS 2012), section 3.3. On a CPU, the operation of
    TensorFlow and its gradient take several times as long.

    Args:
        x: Feature maps `(N, H, W, C)`.
        depth_radius: Number of neighbors on either side, along the channel axis.
        bias: Positive offset.
        alpha: Scale of the sum of squares.
        beta: Exponent.

    Returns:
        The normalized maps in the dtype of `x`, computed in float32.
    """
    settings = (depth_radius, bias, alpha, beta)

    @tf.custom_gradient
    def normalize(x: Any) -> tuple[Any, Any]:
        return _forward(x, *settings), lambda upstream: _backward(x, upstream, *settings)

    return normalize(x)


@compiled_on_cpu
def _forward(x: Any, radius: int, bias: float, alpha: float, beta: float) -> Any:
    wide = tf.cast(x, tf.float32)
    energy = bias + alpha * _window_sum(tf.square(wide), radius)
    return tf.cast(wide * _power(energy, -beta), x.dtype)


@compiled_on_cpu
def _backward(x: Any, upstream: Any, radius: int, bias: float, alpha: float, beta: float) -> Any:
    wide, upstream = tf.cast(x, tf.float32), tf.cast(upstream, tf.float32)
    energy = bias + alpha * _window_sum(tf.square(wide), radius)
    scale = _power(energy, -beta)
    # The window is symmetric: a channel is in the energy of its neighbors, and they are in its own.
    through_energy = _window_sum(upstream * wide * scale / energy, radius)
    gradient = upstream * scale - 2.0 * alpha * beta * wide * through_energy
    return tf.cast(gradient, x.dtype)


def _window_sum(values: Any, radius: int) -> Any:
    """Sum over `2 radius + 1` neighbors along the last axis, with zeros outside."""
    channels = values.shape[-1]
    padded = tf.pad(values, [[0, 0]] * (len(values.shape) - 1) + [[radius, radius]])
    return tf.add_n([padded[..., k : k + channels] for k in range(2 * radius + 1)])


def _power(values: Any, exponent: float) -> Any:
    """Compute `values^exponent` for positive values; in XLA, this is faster than `tf.pow`."""
    return tf.exp(exponent * tf.math.log(values))
