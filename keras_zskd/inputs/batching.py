"""Batches of arrays for Keras' `fit`."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

# The most steps that a training makes in one call of the compiled function.
STEPS_AT_ONCE = 8


def batches(arrays: Any, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Batches of whole arrays, once through, in another order each time.

    Args:
        arrays: A tuple or dict of arrays of one length; the batches have the same structure.
        batch_size: Examples in a batch; a last, smaller batch is kept.
        seed: Of the order; None keeps the order of the arrays.

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
    return ready(data.batch(batch_size).map(lambda numbers: _gather(held, numbers)))


def stream(
    arrays: Any,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    transform: Callable[..., Any] | None = None,
) -> tf.data.Dataset:
    """Endless batches of whole arrays; batch `s` is a function of (seed, s) only.

    One permutation of the examples follows another, so each example comes equally often, and all
    batches have the same size. Starting at a step costs nothing.

    Args:
        arrays: A tuple or dict of arrays of one length; the batches have the same structure.
        batch_size: Examples in a batch; of fewer examples, all are a batch.
        seed: Of the order, 0 or more.
        first_step: Number of the first batch.
        transform: From the number of the batch and the batch to what is yielded, in TensorFlow.

    Example:
        >>> data = stream(np.arange(4), 2, seed=0)
        >>> first, second = data.take(2).as_numpy_iterator()
        >>> sorted(int(value) for value in [*first, *second])
        [0, 1, 2, 3]
    """
    held = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    count = len(tf.nest.flatten(held)[0])
    size = min(batch_size, count)

    def batch(step: Any) -> Any:
        places = step * size + tf.range(size, dtype=tf.int64)
        epochs = places // count
        seeds = tf.stack([tf.fill([size], tf.constant(seed, tf.int64)), epochs, epochs * 0], axis=1)
        # The raw operation: `tf.random.experimental.index_shuffle` of TensorFlow 2.21 pads a matrix
        # of seeds along the wrong dimension.
        numbers = tf.raw_ops.RandomIndexShuffle(
            index=places % count, seed=seeds, max_index=tf.constant(count - 1, tf.int64), rounds=4
        )
        found = _gather(held, tf.ensure_shape(numbers, (size,)))
        return found if transform is None else transform(step, found)

    return ready(tf.data.Dataset.counter(first_step).map(batch))


def steps_of(count: int, batch_size: int) -> int:
    """Steps of an epoch on `stream`.

    An epoch is as many steps as go through the examples once; a long one is rounded to a multiple of
    eight, so that it can be made in calls of eight steps.

    Example:
        >>> steps_of(36_000, 256), steps_of(1_000, 256)
        (144, 4)
    """
    steps = -(-count // min(batch_size, count))
    if steps >= 8 * STEPS_AT_ONCE:
        steps = round(steps / STEPS_AT_ONCE) * STEPS_AT_ONCE
    return steps


def divided(count: int, shares: Iterable[float]) -> list[int]:
    """Whole numbers in the ratio of `shares`, which add up to 1, that add up to `count`.

    Example:
        >>> divided(5, [0.5, 0.25, 0.25])
        [2, 2, 1]
    """
    edges = np.rint(count * np.cumsum([0.0, *shares])).astype(int)
    return [int(size) for size in np.diff(edges)]


def _gather(held: Any, numbers: Any) -> Any:
    return tf.nest.map_structure(lambda array: tf.gather(array, numbers), held)


def ready(data: tf.data.Dataset) -> tf.data.Dataset:
    """A data set with the batches made ahead."""
    # An iterator that tunes itself can take a second and more to end in TensorFlow 2.21, since its
    # tuning thread sleeps through the word to stop: as long as an epoch of a small student.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(2).with_options(options)
