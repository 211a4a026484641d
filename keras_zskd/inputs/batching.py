"""Batches of arrays for Keras' `fit`."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

# Maximum number of training steps per call of the compiled function.
STEPS_AT_ONCE = 8


def batches(arrays: Any, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Create a dataset of batches for one epoch, shuffled again at each iteration.

    Args:
        arrays: A tuple or dict of arrays of equal length; the batches have the same structure.
        batch_size: Number of examples per batch. A smaller last batch is kept.
        seed: Seed of the order; None keeps the order of the arrays.

    Example:
        >>> (batch,) = batches({"image": np.zeros((3, 2))}, 8)
        >>> batch["image"].shape
        TensorShape([3, 2])
    """
    # Shuffles indices and gathers whole batches: gathering single examples would cost more than
    # training a small network.
    held = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    count = len(tf.nest.flatten(held)[0])
    data = tf.data.Dataset.range(count)
    if seed is not None:
        data = data.shuffle(count, seed=seed)
    return ready(mapped(data.batch(batch_size), lambda numbers: _gather(held, numbers)))


def stream(
    arrays: Any,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    transform: Callable[..., Any] | None = None,
) -> tf.data.Dataset:
    """Create an infinite dataset of batches; batch `s` is a function of (seed, s) only.

    The examples are permuted again each epoch, so all are used equally often. All batches have the
    same size. Starting at a later step has no cost.

    Args:
        arrays: A tuple or dict of arrays of equal length; the batches have the same structure.
        batch_size: Number of examples per batch, at most the number of all examples.
        seed: Seed of the order, 0 or more.
        first_step: Index of the first batch.
        transform: TensorFlow function from the index of a batch and the batch to the result.

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
        # The raw operation, since `tf.random.experimental.index_shuffle` in TensorFlow 2.21 pads a
        # matrix of seeds along the wrong dimension.
        numbers = tf.raw_ops.RandomIndexShuffle(
            index=places % count, seed=seeds, max_index=tf.constant(count - 1, tf.int64), rounds=4
        )
        found = _gather(held, tf.ensure_shape(numbers, (size,)))
        return found if transform is None else transform(step, found)

    return ready(mapped(tf.data.Dataset.counter(first_step), batch))


def steps_of(count: int, batch_size: int) -> int:
    """Return the number of steps per epoch of `stream`.

    An epoch uses all examples once. If it has 64 steps or more, their number is rounded to a
    multiple of eight, for calls of eight steps.

    Example:
        >>> steps_of(36_000, 256), steps_of(1_000, 256)
        (144, 4)
    """
    steps = -(-count // min(batch_size, count))
    if steps >= 8 * STEPS_AT_ONCE:
        steps = round(steps / STEPS_AT_ONCE) * STEPS_AT_ONCE
    return steps


def divided(count: int, shares: Iterable[float]) -> list[int]:
    """Divide `count` into whole numbers in proportion to `shares`, which add up to 1.

    Example:
        >>> divided(5, [0.5, 0.25, 0.25])
        [2, 2, 1]
    """
    edges = np.rint(count * np.cumsum([0.0, *shares])).astype(int)
    return [int(size) for size in np.diff(edges)]


def _gather(held: Any, numbers: Any) -> Any:
    return tf.nest.map_structure(lambda array: tf.gather(array, numbers), held)


def mapped(data: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    """Map a function of tensors over a dataset, without AutoGraph, whose conversion takes seconds."""
    return data.map(tf.autograph.experimental.do_not_convert(function))


def ready(data: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch batches, without autotuning."""
    # In TensorFlow 2.21, an iterator with autotuning can take a second or more to end, since its
    # tuning thread may miss the signal to stop. That is as long as an epoch of a small student.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.prefetch(2).with_options(options)
