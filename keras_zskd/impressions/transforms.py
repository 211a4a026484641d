"""What happens to an impression between the canvas and the teacher, anew at each step.

An impression that only works at one exact position is a pattern, not a picture; moving it about while
it is optimised keeps the patterns out. A draw is keyed by (seed, step) and shared by all impressions
of a step, so the result does not depend on the batch and the batch moves as one piece.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.configurable import Configurable
from keras_zskd.errors import InputError


class Transform(Configurable):
    """Base class of differentiable random transforms of a batch of pixels."""

    def apply(self, pixels: Any, key: Any) -> Any:
        """Transform `(N, H, W, C)` pixels in [0, 1] with the randomness of `key`."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_zskd")
class Jitter(Transform):
    """Roll by up to `pixels` in both directions (Yin et al., DeepInversion, CVPR 2020).

    Args:
        pixels: Largest shift, 0 or more.
    """

    def __init__(self, pixels: int = 2):
        if pixels < 0:
            raise InputError(f"pixels={pixels} was received; expected 0 or more.")
        self.pixels = int(pixels)

    def apply(self, pixels: Any, key: Any) -> Any:
        """See `Transform.apply`."""
        if len(pixels.shape) != 4:
            return pixels
        shift = tf.random.stateless_uniform(
            (2,), key, -self.pixels, self.pixels + 1, dtype=tf.int32
        )
        return tf.roll(pixels, shift, axis=[1, 2])

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"pixels": self.pixels}
