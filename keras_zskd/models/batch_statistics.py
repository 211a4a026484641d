"""Distance of a batch to the statistics that batch normalization layers keep."""

import math
from typing import Any

import tensorflow as tf

from keras_zskd.models.lowering.norms import moments
from keras_zskd.models.teacher import Teacher

# A norm has no gradient at 0.
TINY = 1e-12


def statistics_distance(teacher: Teacher, taps: list[Any], group_size: int) -> Any:
    """Compute `sum over layers of |mu - mu_l|_2 + |sigma^2 - sigma_l^2|_2` of each group, `(G,)`.

    Args:
        teacher: A teacher with batch normalization.
        taps: Inputs of its batch normalization layers, each `(G * group_size, ..., C)`.
        group_size: Number of consecutive examples whose mean and variance are computed together.
    """
    total = tf.zeros((tf.shape(taps[0])[0] // group_size,))
    for layer, value in zip(teacher.batch_norms, taps, strict=True):
        value = _channels_last(value, layer.axis)
        channels = value.shape[-1]
        positions = math.prod(value.shape[1:-1])
        mean, variance = moments(tf.reshape(value, (-1, group_size * positions, channels)))
        total += tf.norm(mean - layer.moving_mean + TINY, axis=-1)
        total += tf.norm(variance - layer.moving_variance + TINY, axis=-1)
    return total


def _channels_last(value: Any, axis: int) -> Any:
    """Move the axis that a layer normalizes to the end."""
    rank = len(value.shape)
    others = [i for i in range(rank) if i != axis % rank]
    return tf.transpose(value, [*others, axis % rank]) if axis % rank != rank - 1 else value
