"""`Source`: protocol of training inputs, with batches as a function of (seed, step)."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.randomness import derived_seed
from keras_zskd.inputs.batching import divided, mapped, ready, steps_of, stream

_MOST_HELD_OUT = 1_000


class Source(Protocol):
    """Infinite training inputs; batch `s` is a function of (seed, s) only."""

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """Return an infinite dataset of batches, starting at batch `first_step`.

        Starting at a later step has no cost: earlier batches are not made.
        """
        ...

    def steps(self, batch_size: int) -> int | None:
        """Return the number of steps per epoch, or None if the source is infinite."""
        ...

    def images(self, count: int) -> np.ndarray:
        """Return up to `count` inputs `(count, *input_shape)`, for calibration and display."""
        ...


class Arrays:
    """Examples in memory, all used equally often.

    Args:
        arrays: A tuple `(images, labels)`, a dict with "image", or an array of images. All arrays
            have equal length.
    """

    def __init__(self, arrays: Any):
        self.arrays = arrays
        self._count = len(tf.nest.flatten(arrays)[0])
        if not self._count:
            raise InputError("`arrays` must hold examples. Received: no examples.")

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`; the examples are permuted again each epoch."""
        return stream(self.arrays, batch_size, seed, first_step)

    def steps(self, batch_size: int) -> int:
        """See `Source.steps`; 64 steps or more are rounded to a multiple of eight."""
        return steps_of(self._count, batch_size)

    def images(self, count: int) -> np.ndarray:
        """Return the first `count` images."""
        return np.asarray(images_of(self.arrays)[:count])

    def followed_by(self, other: "Arrays") -> "Arrays":
        """Return these examples and those of `other`, which have the same format."""
        return Arrays(tf.nest.map_structure(_joined, self.arrays, other.arrays))


class Mixture:
    """Several sources in each batch, with given shares.

    Args:
        sources: One or more sources. If they yield dicts, only entries common to all are kept.
        shares: Shares of the examples of a batch, 0 or more; divided by their sum. Defaults to
            equal shares.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[float] | None = None):
        shares = [1.0] * len(sources) if shares is None else list(shares)
        if not sources or len(shares) != len(sources) or min(shares) < 0 or not sum(shares):
            raise InputError(
                "`shares` must be one number of 0 or more per source, not all 0. Received: "
                f"{len(sources)} sources and shares={shares}."
            )
        self.sources = tuple(sources)
        self.shares = tuple(share / sum(shares) for share in shares)

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`."""
        streams = [
            source.stream(size, derived_seed(seed, number), first_step)
            for number, (source, size) in enumerate(
                zip(self.sources, divided(batch_size, self.shares), strict=True)
            )
            if size
        ]
        return ready(mapped(tf.data.Dataset.zip(tuple(streams)), _side_by_side))

    def steps(self, batch_size: int) -> int | None:
        """Return the maximum over the sources."""
        found = [
            source.steps(size)
            for source, size in zip(self.sources, divided(batch_size, self.shares), strict=True)
            if size
        ]
        return max((steps for steps in found if steps is not None), default=None)

    def images(self, count: int) -> np.ndarray:
        """Return images from each source, in its share."""
        parts = zip(self.sources, divided(count, self.shares), strict=True)
        return np.concatenate([source.images(size) for source, size in parts if size])


class Noise:
    """Normal noise: latent vectors for a generator network, or inputs without information.

    Args:
        shape: Shape of one example.
        mean: Mean of the values.
        stddev: Standard deviation of the values, 0 or more.
    """

    def __init__(self, shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0):
        self.shape, self.mean, self.stddev = tuple(shape), float(mean), float(stddev)

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`."""

        def batch(step: Any) -> Any:
            key = tf.stack([tf.constant(seed, tf.int64), step])
            return tf.random.stateless_normal(
                (batch_size, *self.shape), key, self.mean, self.stddev
            )

        return ready(mapped(tf.data.Dataset.counter(first_step), batch))

    def steps(self, batch_size: int) -> None:
        """Return None: the source is infinite."""
        del batch_size

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        """Return `(count, *shape)`, the first batch of a seed."""
        return np.asarray(next(iter(self.stream(count, seed))))


def num_held_out(total: int) -> int:
    """Return how many of `total` examples are held out from training: a tenth, at most 1,000."""
    return min(_MOST_HELD_OUT, total // 10)


def images_of(batch: Any) -> Any:
    """Return the images of a batch or of arrays, in any format of `Arrays`."""
    if isinstance(batch, dict):
        return batch["image"]
    return batch[0] if isinstance(batch, tuple) else batch


def _joined(*arrays: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays)


def _side_by_side(*batches: Any) -> Any:
    """Concatenate several batches into one."""
    if all(isinstance(batch, dict) for batch in batches):
        names = set.intersection(*(set(batch) for batch in batches))
        batches = tuple({name: batch[name] for name in sorted(names)} for batch in batches)
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
