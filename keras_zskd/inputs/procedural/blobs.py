"""Blobs of smooth noise on a plain background."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_zskd.inputs.procedural.draws import Draws
from keras_zskd.inputs.procedural.fields import enlarged


@dataclasses.dataclass(frozen=True)
class Blobs:
    """Smooth noise with random contrast and offset that fades into a dark or light background.

    Gaussian noise on grids of several sizes is enlarged to the image and summed with random
    weights. The background begins outside a superellipse of random size, position and roundness.
    Callable as a family, see `Draws`. Inputs that are not images `(H, W, C)` are plain noise.

    Args:
        scales: Divisors of height and width that give the sizes of the noise grids.
        contrast: `(low, high)`, range of the random factor of the noise.
        offset: Standard deviation of the random shift of the noise, relative to that of the noise.
        ground: Maximum change of the logits of the pixels toward the background.
        light: Share of the pictures with a light background.
    """

    scales: Sequence[int] = (2, 4, 8)
    contrast: Sequence[float] = (1.0, 5.0)
    offset: float = 1.0
    ground: float = 20.0
    light: float = 0.5

    def __call__(self, draws: Draws, shape: tuple[int, ...]) -> Any:
        """Generate pictures `(N, *shape)` in [0, 1]."""
        num_uniform, num_normal = self.numbers(shape)
        return tf.sigmoid(self.logits(draws.uniform(num_uniform), draws.normal(num_normal), shape))

    def numbers(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the number of uniform and normal numbers per picture."""
        return len(self.scales) + 6, sum(math.prod(grid) for grid in self._grids(shape)) + 3

    def logits(self, uniform: Any, normal: Any, shape: tuple[int, ...]) -> Any:
        """Compute logits `(N, *shape)` from uniform `(N, U)` and normal `(N, V)` numbers."""
        low, high = self.contrast
        contrast = low + (high - low) * uniform[:, 0]
        grids = self._grids(shape)
        parts = tf.split(normal[:, 3:], [math.prod(grid) for grid in grids], 1)
        if len(shape) != 3:  # Not an image: no neighborhood, so no scales and no background.
            return tf.reshape(contrast[:, None] * parts[0], (-1, *shape))
        height, width, _ = shape
        noise = tf.zeros((1, *shape))
        for i, (grid, part) in enumerate(zip(grids, parts, strict=True)):
            smooth = enlarged(tf.reshape(part, (-1, *grid)), height, width)
            noise += _wide(uniform[:, 6 + i]) * smooth
        noise /= tf.math.reduce_std(noise, [1, 2, 3], keepdims=True) + 1e-6
        logits = _wide(contrast) * (noise - self.offset * _wide(normal[:, 0]))
        return logits + self._fade(uniform, normal, height, width)

    def _grids(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shapes of the noise: a grid per scale, or `shape` if it is not an image."""
        if len(shape) != 3:
            return [shape]
        height, width, channels = shape
        return [(max(2, height // s), max(2, width // s), channels) for s in self.scales]

    def _fade(self, uniform: Any, normal: Any, height: int, width: int) -> Any:
        """Compute the term `(N, H, W, 1)` that the background adds to the logits."""
        y = tf.reshape(tf.linspace(-1.0, 1.0, height), (1, -1, 1, 1)) - 0.15 * _wide(normal[:, 1])
        x = tf.reshape(tf.linspace(-1.0, 1.0, width), (1, 1, -1, 1)) - 0.15 * _wide(normal[:, 2])
        roundness = 2.0 + 4.0 * _wide(uniform[:, 1])
        size_y, size_x = (0.4 + 0.7 * _wide(uniform[:, i]) for i in (2, 3))
        distance = tf.abs(y / size_y) ** roundness + tf.abs(x / size_x) ** roundness
        sign = tf.where(_wide(uniform[:, 4]) < self.light, 1.0, -1.0)
        strength = self.ground * _wide(uniform[:, 5])
        return sign * strength * tf.clip_by_value(distance - 1.0, -0.3, 1.0)


def _wide(values: Any) -> Any:
    """Reshape `(N,)` to `(N, 1, 1, 1)`."""
    return tf.reshape(values, (-1, 1, 1, 1))
