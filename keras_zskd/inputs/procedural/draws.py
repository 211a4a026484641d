"""`Draws`: the random numbers of a batch of pictures, taken one after the other."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Family = Callable[["Draws", tuple[int, ...]], Any]


class Draws:
    """Uniform and normal numbers, each of which is taken once.

    A family is a function `(draws, shape) -> (N, *shape)` with values in [0, 1], of which picture `n`
    depends on row `n` of the draws only. So the same family serves a stream of fresh batches and
    impressions that are keyed by their number.

    Args:
        uniform: `(N, U)` in [0, 1).
        normal: `(N, V)`.
    """

    def __init__(self, uniform: Any, normal: Any):
        self._uniform, self._normal = uniform, normal
        self.num_uniform = self.num_normal = 0

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        """The next `(N, count)` uniform numbers, in `[low, high)`."""
        first, self.num_uniform = self.num_uniform, self.num_uniform + count
        return low + (high - low) * self._uniform[:, first : self.num_uniform]

    def normal(self, count: int, stddev: float = 1.0) -> Any:
        """The next `(N, count)` normal numbers."""
        first, self.num_normal = self.num_normal, self.num_normal + count
        return stddev * self._normal[:, first : self.num_normal]


class _Counted(Draws):
    """Counts what a family takes."""

    def __init__(self) -> None:
        super().__init__(None, None)

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Any:
        self.num_uniform += count
        return tf.fill((1, count), (low + high) / 2)

    def normal(self, count: int, stddev: float = 1.0) -> Any:
        self.num_normal += count
        return tf.zeros((1, count))


def numbers_of(family: Family, shape: tuple[int, ...]) -> tuple[int, int]:
    """How many uniform and normal numbers one picture of a family takes: it draws one to count."""
    counted = _Counted()
    with tf.init_scope():
        family(counted, shape)
    return counted.num_uniform, counted.num_normal
