"""`Draws`: the random numbers of a batch of pictures, which are used in sequence."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Family = Callable[["Draws", tuple[int, ...]], Any]


class Draws:
    """Uniform and normal random numbers, each of which is used once.

    A family is a function `(draws, shape) -> (N, *shape)` with values in [0, 1]. Picture `n`
    depends only on row `n` of the draws, so a family works both for a stream of new batches and for
    impressions keyed by their index.

    Args:
        uniform: `(N, U)` uniform numbers in [0, 1).
        normal: `(N, V)` normal numbers.
    """

    def __init__(self, uniform: Any, normal: Any):
        self._uniform, self._normal = uniform, normal
        self.num_uniform = self.num_normal = 0

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        """Take the next uniform numbers `(N, count)`, in `[low, high)`."""
        first, self.num_uniform = self.num_uniform, self.num_uniform + count
        return low + (high - low) * self._uniform[:, first : self.num_uniform]

    def normal(self, count: int, stddev: float = 1.0) -> Any:
        """Take the next normal numbers `(N, count)`."""
        first, self.num_normal = self.num_normal, self.num_normal + count
        return stddev * self._normal[:, first : self.num_normal]


class _Counted(Draws):
    """Counts the numbers that a family takes."""

    def __init__(self) -> None:
        super().__init__(None, None)

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        self.num_uniform += count
        return tf.fill((1, count), (low + high) / 2)

    def normal(self, count: int, stddev: float = 1.0) -> Any:
        self.num_normal += count
        return tf.zeros((1, count))


def numbers_of(family: Family, shape: tuple[int, ...]) -> tuple[int, int]:
    """Count the uniform and normal numbers per picture of a family, by generating one picture."""
    counted = _Counted()
    with tf.init_scope():
        family(counted, shape)
    return counted.num_uniform, counted.num_normal
