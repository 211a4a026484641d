"""Batches of arrays for Keras' `fit`, epoch after epoch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def batches(
    arrays: Any,
    batch_size: int,
    seed: int | None = None,
    transform: Callable[..., Any] | None = None,
) -> tf.data.Dataset:
    """Batches of whole arrays, in another order each epoch.

    Args:
        arrays: A tuple or dict of arrays of one length; the batches have the same structure.
        batch_size: Examples in a batch; a last, smaller batch is kept.
        seed: Of the order; None keeps the order of the arrays.
        transform: Applied to each batch, in TensorFlow.

    Example:
        >>> (batch,) = batches({"image": np.zeros((3, 2))}, 8)
        >>> batch["image"].shape
        TensorShape([3, 2])
    """
    # Numbers are put in order and images gathered by the batch: one by one would cost more than the
    # training of a small network.
    held = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    count = len(tf.nest.flatten(held)[0])
    data = tf.data.Dataset.range(count)
    if seed is not None:
        data = data.shuffle(count, seed=seed)
    data = data.batch(batch_size)
    data = data.map(
        lambda numbers: tf.nest.map_structure(lambda array: tf.gather(array, numbers), held)
    )
    if transform is not None:
        data = data.map(transform)
    # An iterator that tunes itself can take a second and more to end in TensorFlow 2.21, since its
    # tuning thread sleeps through the word to stop: as long as an epoch of a small student.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(2).with_options(options)
