"""`Source`: anything that yields training inputs, batch by batch, as a function of (seed, step)."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.batching import divided, ready, steps_of, stream

_MOST_HELD_OUT = 1_000


class Source(Protocol):
    """Training inputs without an end; batch `s` is a function of (seed, s) only."""

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """Endless batches of `batch_size` examples, from batch `first_step` on.

        Starting at a step costs nothing: the batches before it are not made.
        """
        ...

    def steps(self, batch_size: int) -> int | None:
        """Steps that go through everything once; None where there is no end."""
        ...

    def images(self, count: int) -> np.ndarray:
        """Up to `count` inputs `(count, *input_shape)`, to calibrate on and to look at."""
        ...


class Arrays:
    """Examples that are held in memory; each comes equally often.

    Args:
        arrays: A tuple `(images, labels)`, a dict with "image", or images alone; of one length.
    """

    def __init__(self, arrays: Any):
        self.arrays = arrays
        self._count = len(tf.nest.flatten(arrays)[0])
        if not self._count:
            raise InputError("`arrays` must hold examples. Received: none.")

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`; one permutation of the examples follows another."""
        return stream(self.arrays, batch_size, seed, first_step)

    def steps(self, batch_size: int) -> int:
        """See `Source.steps`; rounded to a multiple of eight where there are 64 and more."""
        return steps_of(self._count, batch_size)

    def images(self, count: int) -> np.ndarray:
        """The first `count`."""
        return np.asarray(images_of(self.arrays)[:count])


class Mixture:
    """Several sources in each batch, each with a share of its own.

    Args:
        sources: At least one. Of what they yield as dicts, the entries that all have are kept.
        shares: Of the examples of a batch; 0 or more, and divided by their sum. Defaults to equal.
    """

    def __init__(self, sources: Sequence[Source], shares: Sequence[float] | None = None):
        shares = [1.0] * len(sources) if shares is None else list(shares)
        if not sources or len(shares) != len(sources) or min(shares) < 0 or not sum(shares):
            raise InputError(
                "`shares` must be one number of 0 or more for each source, not all 0. Received: "
                f"{len(sources)} sources and shares={shares}."
            )
        self.sources = tuple(sources)
        self.shares = tuple(share / sum(shares) for share in shares)

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`."""
        streams = [
            source.stream(size, _seed_of(seed, number), first_step)
            for number, (source, size) in enumerate(
                zip(self.sources, divided(batch_size, self.shares), strict=True)
            )
            if size
        ]
        return ready(tf.data.Dataset.zip(tuple(streams)).map(_side_by_side))

    def steps(self, batch_size: int) -> int | None:
        """The most that any of the sources has."""
        found = [
            source.steps(size)
            for source, size in zip(self.sources, divided(batch_size, self.shares), strict=True)
            if size
        ]
        return max((steps for steps in found if steps is not None), default=None)

    def images(self, count: int) -> np.ndarray:
        """Of each source its share."""
        parts = zip(self.sources, divided(count, self.shares), strict=True)
        return np.concatenate([source.images(size) for source, size in parts if size])


class Noise:
    """Normal noise: latent vectors for a generator network, or inputs that say nothing.

    Args:
        shape: Of one example.
        mean: Of all values.
        stddev: Of all values, 0 or more.
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

        return ready(tf.data.Dataset.counter(first_step).map(batch))

    def steps(self, batch_size: int) -> None:
        """Noise has no end."""
        del batch_size

    def images(self, count: int) -> np.ndarray:
        """`(count, *shape)`, the first batch of seed 0."""
        return np.asarray(next(iter(self.stream(count, seed=0))))


def num_held_out(total: int) -> int:
    """How many of `total` examples are kept from training: a tenth, at most 1,000."""
    return min(_MOST_HELD_OUT, total // 10)


def images_of(batch: Any) -> Any:
    """The images of a batch, or of arrays, in any of the forms that `Arrays` takes."""
    if isinstance(batch, dict):
        return batch["image"]
    return batch[0] if isinstance(batch, tuple) else batch


def _seed_of(seed: int, number: int) -> int:
    """A seed of its own for each of several sources."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _side_by_side(*batches: Any) -> Any:
    """One batch of several."""
    if all(isinstance(batch, dict) for batch in batches):
        names = set.intersection(*(set(batch) for batch in batches))
        batches = tuple({name: batch[name] for name in sorted(names)} for batch in batches)
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
