"""Arithmetic of normalization layers, in few passes over the feature maps.

All computations are in float32. Feature maps are read and written in their own dtype.
"""

from typing import Any

import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu


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
