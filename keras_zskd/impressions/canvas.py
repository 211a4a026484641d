"""What is optimised: where the pixels start, and what keeps them in the teacher's range.

A canvas holds free variables `z` for each impression and shows them as pixels in [0, 1]; the engine
moves `z`, and scales what is shown to the teacher's input range.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError

_SALT = 10


class Canvas(Configurable):
    """Base class of the ways to hold an impression while it is optimised."""

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> Any:
        """The random numbers that the impressions `indices` start from: arrays, `N` first."""
        raise NotImplementedError

    def form(self, draws: Any, shape: tuple[int, ...]) -> Any:
        """Starting variables `z` `(N, *shape)` made of what `draw` returned; runs compiled."""
        raise NotImplementedError

    def show(self, z: Any) -> Any:
        """Pixels of `z`, differentiable."""
        raise NotImplementedError

    def constrain(self, z: Any) -> Any:
        """Applied to `z` after each step."""
        return z


@keras.saving.register_keras_serializable(package="keras_zskd")
class UniformCanvas(Canvas):
    """The paper's canvas: pixels start as uniform noise and are kept in range after each step.

    Args:
        constraint: "rescale" maps the lowest and highest pixel of each impression to 0 and 1 after
            every step; the released code does so with the lowest and highest of its whole batch,
            which would make an impression depend on its neighbours. "clip" cuts what leaves [0, 1].
            "none" leaves the pixels free.
    """

    def __init__(self, constraint: str = "rescale"):
        if constraint not in ("rescale", "clip", "none"):
            raise InputError(
                f"constraint={constraint!r} was received; expected 'rescale', 'clip' or 'none'."
            )
        self.constraint = constraint

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> np.ndarray:
        """See `Canvas.draw`."""
        return randomness.uniforms(seed, _SALT, indices, math.prod(shape))

    def form(self, draws: Any, shape: tuple[int, ...]) -> Any:
        """See `Canvas.form`."""
        return tf.reshape(draws, (-1, *shape))

    def show(self, z: Any) -> Any:
        """See `Canvas.show`."""
        return z

    def constrain(self, z: Any) -> Any:
        """See `Canvas.constrain`."""
        if self.constraint == "clip":
            return tf.clip_by_value(z, 0.0, 1.0)
        if self.constraint == "rescale":
            axes = list(range(1, len(z.shape)))
            low = tf.reduce_min(z, axes, keepdims=True)
            high = tf.reduce_max(z, axes, keepdims=True)
            return (z - low) / tf.maximum(high - low, 1e-12)
        return z

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"constraint": self.constraint}


@keras.saving.register_keras_serializable(package="keras_zskd")
class BlobCanvas(Canvas):
    """Pixels are the sigmoid of `z`, which starts as a blob of smooth noise on an empty ground.

    Pictures of things have structure at every scale, and a thing stands somewhere near the middle of
    a ground. The noise is Gaussian on grids of several sizes, enlarged to the image and summed with
    random weights, with a random contrast and a random offset; outside of a superellipse of random
    size, place and roundness it fades into a dark or a light ground. No data is involved, only these
    assumptions. The sigmoid keeps the pixels in range; other than clipping it leaves them a gradient,
    but for the far ground, where it is 0 or 1 to the last bit. Inputs that are no images `(H, W, C)`
    start as plain noise.

    Args:
        scales: Divisors of height and width: the grids that noise is drawn on.
        contrast: `(low, high)`, the range of the random factor of the noise.
        offset: Standard deviation of the random shift of the noise, in units of the noise.
        ground: How far `z` falls toward the ground, at most; 0 leaves the noise everywhere.
        light: Share of the impressions on a light ground. 0.5 where nothing is known.
    """

    def __init__(
        self,
        scales: Sequence[int] = (2, 4, 8),
        contrast: Sequence[float] = (1.0, 5.0),
        offset: float = 1.0,
        ground: float = 20.0,
        light: float = 0.5,
    ):
        if not 0.0 <= light <= 1.0 or ground < 0:
            raise InputError(
                f"light={light} and ground={ground} were received; expected a share in [0, 1] and a "
                "number of 0 or more."
            )
        if not scales or any(scale < 1 for scale in scales) or len(contrast) != 2:
            raise InputError(
                f"scales={scales} and contrast={contrast} were received; expected divisors of 1 or "
                "more, and (low, high)."
            )
        self.scales = tuple(scales)
        self.contrast = (float(contrast[0]), float(contrast[1]))
        self.offset = float(offset)
        self.ground = float(ground)
        self.light = float(light)

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """See `Canvas.draw`."""
        uniform = randomness.uniforms(seed, _SALT, indices, len(self.scales) + 6)
        count = sum(math.prod(grid) for grid in self._grids(shape)) + 3
        return uniform, randomness.normals(seed, _SALT + 1, indices, count)

    def form(self, draws: tuple[Any, Any], shape: tuple[int, ...]) -> Any:
        """See `Canvas.form`."""
        uniform, normal = draws
        low, high = self.contrast
        contrast = low + (high - low) * uniform[:, 0]
        grids = self._grids(shape)
        parts = tf.split(normal[:, 3:], [math.prod(grid) for grid in grids], 1)
        if len(shape) != 3:  # Not an image: no neighbourhood, so no scales and no ground.
            return tf.reshape(contrast[:, None] * parts[0], (-1, *shape))
        height, width, _ = shape
        noise = tf.zeros((1, *shape))
        for i, (grid, part) in enumerate(zip(grids, parts, strict=True)):
            rows, columns = _enlarge(grid[0], height), _enlarge(grid[1], width)
            coarse = tf.reshape(part, (-1, *grid))
            smooth = tf.einsum("ih,nhwc,jw->nijc", rows, coarse, columns)
            noise += _wide(uniform[:, 6 + i]) * smooth
        noise /= tf.math.reduce_std(noise, [1, 2, 3], keepdims=True) + 1e-6
        z = _wide(contrast) * (noise - self.offset * _wide(normal[:, 0]))
        return z + self._fade(uniform, normal, height, width)

    def _grids(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """What noise is drawn on: a grid for each scale, or the input itself if it is no image."""
        if len(shape) != 3:
            return [shape]
        height, width, channels = shape
        return [(max(2, height // s), max(2, width // s), channels) for s in self.scales]

    def _fade(self, uniform: Any, normal: Any, height: int, width: int) -> Any:
        """What is added to `z` so that it ends in a ground, `(N, H, W, 1)`."""
        y = tf.reshape(tf.linspace(-1.0, 1.0, height), (1, -1, 1, 1)) - 0.15 * _wide(normal[:, 1])
        x = tf.reshape(tf.linspace(-1.0, 1.0, width), (1, 1, -1, 1)) - 0.15 * _wide(normal[:, 2])
        roundness = 2.0 + 4.0 * _wide(uniform[:, 1])
        size_y, size_x = (0.4 + 0.7 * _wide(uniform[:, i]) for i in (2, 3))
        distance = tf.abs(y / size_y) ** roundness + tf.abs(x / size_x) ** roundness
        sign = tf.where(_wide(uniform[:, 4]) < self.light, 1.0, -1.0)
        strength = self.ground * _wide(uniform[:, 5])
        return sign * strength * tf.clip_by_value(distance - 1.0, -0.3, 1.0)

    def show(self, z: Any) -> Any:
        """See `Canvas.show`."""
        return tf.sigmoid(z)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "scales": list(self.scales),
            "contrast": list(self.contrast),
            "offset": self.offset,
            "ground": self.ground,
            "light": self.light,
        }


@functools.cache
def _enlarge(size: int, to: int) -> np.ndarray:
    """Bicubic interpolation from `size` points to `to`, as a matrix `(to, size)`."""
    with tf.init_scope():  # A constant, also while a tf.function is traced.
        unit = tf.reshape(tf.eye(size), (size, size, 1, 1))  # Each point's image by itself.
        return np.asarray(tf.image.resize(unit, (to, 1), "bicubic"))[:, :, 0, 0].T


def _wide(values: Any) -> Any:
    """`(N,)` as `(N, 1, 1, 1)`."""
    return tf.reshape(values, (-1, 1, 1, 1))
