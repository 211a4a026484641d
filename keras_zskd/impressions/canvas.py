"""Canvases: the initial pixels of an impression, and how they are kept in range.

A canvas holds the free variables `z` of each impression and maps them to pixels in [0, 1]. The
engine optimizes `z` and scales the pixels to the teacher's input range.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.inputs.procedural.blobs import Blobs
from keras_zskd.inputs.procedural_pictures import ProceduralPictures

_SALT = 10


class Canvas(Configurable):
    """Base class of the parameterizations of an impression during optimization."""

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> Any:
        """Draw the random numbers of the impressions `indices`: arrays with leading axis `N`."""
        raise NotImplementedError

    def form(self, draws: Any, shape: tuple[int, ...]) -> Any:
        """Make the initial `z` `(N, *shape)` from the result of `draw`; runs compiled."""
        raise NotImplementedError

    def show(self, z: Any) -> Any:
        """Map `z` to pixels; differentiable."""
        raise NotImplementedError

    def constrain(self, z: Any) -> Any:
        """Project `z` after each step."""
        return z


@keras.saving.register_keras_serializable(package="keras_zskd")
class UniformCanvas(Canvas):
    """The canvas of the paper: pixels start as uniform noise and are constrained after each step.

    Args:
        constraint: "rescale" maps the lowest and highest pixel of each impression to 0 and 1 after
            every step. The released code uses the lowest and highest pixel of the whole batch,
            which would make an impression depend on the others. "clip" clips the pixels to [0, 1].
            "none" leaves them unconstrained.
    """

    def __init__(self, constraint: str = "rescale"):
        if constraint not in ("rescale", "clip", "none"):
            raise invalid("constraint", "be 'rescale', 'clip' or 'none'", constraint)
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
        """Return the constructor arguments."""
        return {"constraint": self.constraint}


@keras.saving.register_keras_serializable(package="keras_zskd")
class BlobCanvas(Canvas):
    """Pixels are the sigmoid of `z`, which starts as a blob of smooth noise on a plain background.

    Images of objects have structure at every scale, and the object is usually near the center. The
    noise is Gaussian on grids of several sizes, upsampled to the image and summed with random
    weights, a random contrast and a random offset. Outside a superellipse of random size, position
    and roundness, it fades into a dark or light background. These are assumptions; no data is used.
    The sigmoid keeps the pixels in range. Unlike clipping, it preserves their gradient, except far
    out in the background, where it saturates at exactly 0 or 1. Inputs that are not images
    `(H, W, C)` start as plain noise.

    Args:
        scales: Divisors of height and width that give the sizes of the noise grids.
        contrast: `(low, high)`, the range of the random factor of the noise.
        offset: Standard deviation of the random shift of the noise, in units of the noise.
        ground: Largest shift of `z` toward the background, 0 or more. With 0, the noise covers the
            whole image.
        light: Share of the impressions on a light background, in [0, 1]. Use 0.5 if nothing is
            known.
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
                "`light` must be in [0, 1] and `ground` must be 0 or more. "
                f"Received: light={light}, ground={ground}."
            )
        if not scales or any(scale < 1 for scale in scales) or len(contrast) != 2:
            raise InputError(
                "`scales` must be divisors of 1 or more, and `contrast` must be (low, high). "
                f"Received: scales={scales}, contrast={contrast}."
            )
        self.scales = tuple(scales)
        self.contrast = (float(contrast[0]), float(contrast[1]))
        self.offset = float(offset)
        self.ground = float(ground)
        self.light = float(light)
        self._blobs = Blobs(self.scales, self.contrast, self.offset, self.ground, self.light)

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """See `Canvas.draw`."""
        num_uniform, num_normal = self._blobs.numbers(shape)
        uniform = randomness.uniforms(seed, _SALT, indices, num_uniform)
        return uniform, randomness.normals(seed, _SALT + 1, indices, num_normal)

    def form(self, draws: tuple[Any, Any], shape: tuple[int, ...]) -> Any:
        """See `Canvas.form`."""
        return self._blobs.logits(*draws, shape)

    def show(self, z: Any) -> Any:
        """See `Canvas.show`."""
        return tf.sigmoid(z)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "scales": list(self.scales),
            "contrast": list(self.contrast),
            "offset": self.offset,
            "ground": self.ground,
            "light": self.light,
        }


@keras.saving.register_keras_serializable(package="keras_zskd")
class PictureCanvas(Canvas):
    """Pixels are the sigmoid of `z`, which starts as a procedural picture.

    Since the initial pictures have the statistics of photographs, a few steps are enough, and they
    add only what the teacher responds to.

    Args:
        shares: Shares of the families, see `ProceduralPictures`. Defaults to equal shares.
        margin: Distance of the initial pixels from the ends of the range, in (0, 0.5). At the ends
            the sigmoid has no gradient.
    """

    def __init__(self, shares: Mapping[str, float] | None = None, margin: float = 0.03):
        if not 0.0 < margin < 0.5:
            raise invalid("margin", "be in the open interval (0, 0.5)", margin)
        self.shares = None if shares is None else dict(shares)
        self.margin = float(margin)

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> np.ndarray:
        """See `Canvas.draw`; the draws are the pictures themselves."""
        return ProceduralPictures(shape, shares=self.shares).keyed(seed, indices)

    def form(self, draws: Any, shape: tuple[int, ...]) -> Any:
        """See `Canvas.form`."""
        del shape
        kept = tf.clip_by_value(draws, self.margin, 1.0 - self.margin)
        return tf.math.log(kept) - tf.math.log1p(-kept)

    def show(self, z: Any) -> Any:
        """See `Canvas.show`."""
        return tf.sigmoid(z)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"shares": self.shares, "margin": self.margin}
