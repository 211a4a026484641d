"""What normalisations compute, in few passes over the feature maps.

In float32 whatever the type of the maps, which are read and written in their own.
"""

from typing import Any

import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu


@tf.custom_gradient
def scale_and_shift(x: Any, scale: Any, offset: Any) -> tuple[Any, Any]:
    """`scale * x + offset` of maps `(..., C)` with `scale` and `offset` `(C,)`, in the type of `x`.

    What a batch normalisation does in inference mode.
    """

    # Three pieces of graph, of which TensorFlow leaves out those that nobody asks for; of one compiled
    # function it runs all.
    def gradient(upstream: Any) -> tuple[Any, Any, Any]:
        axes = list(range(len(x.shape) - 1))
        wide = tf.cast(upstream, tf.float32)
        by_scale = tf.reduce_sum(wide * tf.cast(x, tf.float32), axes)
        return _line(upstream, scale, 0.0), by_scale, tf.reduce_sum(wide, axes)

    return _line(x, scale, offset), gradient


@tf.custom_gradient
def moments(x: Any) -> tuple[Any, Any]:
    """Mean and variance `(G, C)` of `(G, M, C)` over M, in float32.

    With `d mean / d x = 1 / M` and `d variance / d x = 2 (x - mean) / M` the gradient is one
    multiplication and one addition for each value; that of `tf.nn.moments` goes over all of them
    several times.
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


def normalise_response(x: Any, depth_radius: int, bias: float, alpha: float, beta: float) -> Any:
    """`x[c] / (bias + alpha * energy[c])^beta`: each activation by the energy of its neighbours.

    (Krizhevsky, Sutskever, Hinton, NeurIPS 2012, section 3.3.) On a CPU, TensorFlow's own operation and
    its gradient take several times as long.

    Args:
        x: Feature maps `(N, H, W, C)`.
        depth_radius: Neighbours on either side, in the channel axis.
        bias: Positive.
        alpha: Of the squares.
        beta: Exponent.

    Returns:
        The normalised maps, in the type of `x`; computed in float32.
    """
    settings = (depth_radius, bias, alpha, beta)

    @tf.custom_gradient
    def normalise(x: Any) -> tuple[Any, Any]:
        return _forward(x, *settings), lambda upstream: _backward(x, upstream, *settings)

    return normalise(x)


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
    # A channel is in the energy of its neighbours, and they in its own: the window is symmetric.
    through_energy = _window_sum(upstream * wide * scale / energy, radius)
    gradient = upstream * scale - 2.0 * alpha * beta * wide * through_energy
    return tf.cast(gradient, x.dtype)


def _window_sum(values: Any, radius: int) -> Any:
    """Sum over `2 radius + 1` neighbours in the last axis, with zeros outside."""
    channels = values.shape[-1]
    padded = tf.pad(values, [[0, 0]] * (len(values.shape) - 1) + [[radius, radius]])
    return tf.add_n([padded[..., k : k + channels] for k in range(2 * radius + 1)])


def _power(values: Any, exponent: float) -> Any:
    """`values^exponent` of positive values, which XLA has a fast loop for, other than `tf.pow`."""
    return tf.exp(exponent * tf.math.log(values))
