"""What is optimised: where the pixels start, and what keeps them in the teacher's range.

A canvas holds free variables `z` for each impression and shows them as pixels in [0, 1]; the engine
moves `z`, and scales what is shown to the teacher's input range.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.configurable import Configurable
from keras_zskd.errors import InputError
from keras_zskd.impressions import randomness

_SALT = 2


class Canvas(Configurable):
    """Base class of the ways to hold an impression while it is optimised."""

    def start(self, seed: Any, indices: Any, shape: tuple[int, ...]) -> Any:
        """Starting variables `z` `(N, *shape)` of the impressions `indices`."""
        spec = tf.TensorSpec(shape, tf.float32)
        return randomness.per_impression(
            lambda key: self.noise(key, shape), seed, _SALT, indices, spec
        )

    def noise(self, key: Any, shape: tuple[int, ...]) -> Any:
        """Starting variables `z` of one impression."""
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

    def noise(self, key: Any, shape: tuple[int, ...]) -> Any:
        """See `Canvas.noise`."""
        return tf.random.stateless_uniform(shape, key)

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
    """Pixels are the sigmoid of `z`, which starts as smooth noise of mixed scales.

    Pictures of things are made of regions: smooth inside, with edges, one of them the background.
    Gaussian noise on grids of several sizes, enlarged to the image and summed with random weights,
    has structure at every scale; a random contrast and a random offset under the sigmoid make blobs
    on a ground out of it. No data is involved, only that assumption. The sigmoid keeps the pixels in
    range and, other than clipping, leaves every pixel a gradient.

    Args:
        scales: Divisors of height and width: the grids that noise is drawn on.
        contrast: `(low, high)`, the range of the random factor of the noise.
        offset: Standard deviation of the random shift of the noise, in units of the noise.
    """

    def __init__(
        self,
        scales: tuple[int, ...] = (1, 2, 4, 8),
        contrast: tuple[float, float] = (1.0, 5.0),
        offset: float = 1.0,
    ):
        self.scales = tuple(scales)
        self.contrast = (float(contrast[0]), float(contrast[1]))
        self.offset = float(offset)

    def noise(self, key: Any, shape: tuple[int, ...]) -> Any:
        """See `Canvas.noise`."""
        keys = tf.unstack(tf.random.experimental.stateless_split(key, len(self.scales) + 3))
        low, high = self.contrast
        contrast = tf.random.stateless_uniform((), keys[-1], low, high)
        offset = self.offset * tf.random.stateless_normal((), keys[-2])
        if len(shape) != 3:  # Not an image: no neighbourhood, so no scales.
            return contrast * tf.random.stateless_normal(shape, keys[0])
        height, width, channels = shape
        weights = tf.random.stateless_uniform((len(self.scales),), keys[-3], 0.0, 1.0)
        noise = tf.zeros(shape)
        for i, scale in enumerate(self.scales):
            size = (max(2, height // scale), max(2, width // scale), channels)
            coarse = tf.random.stateless_normal(size, keys[i])
            noise += weights[i] * tf.image.resize(coarse, (height, width), method="bicubic")
        noise /= tf.math.reduce_std(noise) + 1e-6
        return contrast * (noise - offset)

    def show(self, z: Any) -> Any:
        """See `Canvas.show`."""
        return tf.sigmoid(z)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"scales": list(self.scales), "contrast": list(self.contrast), "offset": self.offset}
