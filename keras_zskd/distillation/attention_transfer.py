"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017): compares where two networks respond."""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.keras_internals import nodes_of


def attention_pairs(teacher: keras.Model, student: keras.Model) -> list[tuple[Any, Any]]:
    """Return pairs of symbolic feature maps `(N, H, W, C)` of both networks with equal H and W.

    For each size, the last map of that size in each network is used. In a residual network, this is
    the output of the stage with that size.

    Args:
        teacher: A flat Functional model.
        student: A flat Functional model.
    """
    theirs, ours = _last_maps(teacher), _last_maps(student)
    return [(tensor, ours[size]) for size, tensor in theirs.items() if size in ours]


def attention_distance(teacher: Any, student: Any) -> Any:
    """Compute the mean squared difference `(N,)` of the attention in two feature maps.

    `mean_i (q_i(teacher) - q_i(student))^2` over the positions i, with `q = a / |a|_2` and
    `a_i = mean_c x_(i, c)^2`.

    Args:
        teacher: `(N, H, W, C)`.
        student: `(N, H, W, D)`.
    """
    difference = _attention(teacher) - _attention(student)
    return tf.reduce_mean(tf.square(difference), axis=-1)


def _attention(maps: Any) -> Any:
    energy = tf.reduce_mean(tf.square(tf.cast(maps, tf.float32)), axis=-1)
    flat = tf.reshape(energy, (-1, energy.shape[1] * energy.shape[2]))
    return tf.math.l2_normalize(flat, axis=-1)


def _last_maps(model: keras.Model) -> dict[tuple[int, int], Any]:
    """The last feature map of each size above 1x1, from the input to the output."""
    found = {}
    for node in nodes_of(model):
        for tensor in () if node.is_input else node.outputs:
            if len(tensor.shape) == 4 and tensor.shape[1] * tensor.shape[2] > 1:
                found[tuple(tensor.shape[1:3])] = tensor
    return found
