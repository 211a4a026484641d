"""What is optimised: where the pixels start, and what keeps them in the teacher's range.

A canvas holds free variables `z` for each impression and shows them as pixels in [0, 1]; the engine
moves `z`, and scales what is shown to the teacher's input range.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError
from keras_zskd.inputs.procedural.blobs import Blobs
from keras_zskd.inputs.procedural_pictures import ProceduralPictures

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
        """Constructor arguments."""
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

    From a start with the statistics of photographs a few steps are enough, and what they add is what
    the teacher asks for.

    Args:
        shares: Of the families, see `ProceduralPictures`; default: all in equal shares.
        margin: Distance of the starting pixels from the ends of the range, in (0, 0.5): at the ends
            the sigmoid has no gradient.
    """

    def __init__(self, shares: Mapping[str, float] | None = None, margin: float = 0.03):
        if not 0.0 < margin < 0.5:
            raise InputError(
                f"`margin` must be between 0 and 0.5, both excluded. Received: margin={margin}."
            )
        self.shares = None if shares is None else dict(shares)
        self.margin = float(margin)

    def draw(self, seed: int, indices: Any, shape: tuple[int, ...]) -> np.ndarray:
        """See `Canvas.draw`; the pictures themselves."""
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
        """Constructor arguments."""
        return {"shares": self.shares, "margin": self.margin}
