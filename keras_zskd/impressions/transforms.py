"""Random transforms between canvas and teacher, drawn at each step.

An impression that only works at one exact position is an adversarial pattern. Random shifts during
optimization suppress such patterns. Draws are keyed by (seed, impression, step), so an impression
does not depend on when it is made or on the others in its batch.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.inputs.affine import Affine, warp


class Transform(Configurable):
    """Base class of differentiable random transforms of a batch of pixels.

    Traced without AutoGraph: use `tf.cond` and `tf.where` in place of `if` on tensors.
    """

    num_draws = 1
    """Number of uniform random numbers per impression and step."""

    def apply(self, pixels: Any, uniforms: Any) -> Any:
        """Transform pixels `(N, H, W, C)` in [0, 1], each by its `uniforms` `(N, num_draws)`."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_zskd")
class Jitter(Transform):
    """Rolls by up to `pixels` along both axes (Yin et al., DeepInversion, CVPR 2020).

    DeepInversion rolls the whole batch by one shift; here each impression gets its own shift.

    Args:
        pixels: Largest shift, 0 or more.
    """

    num_draws = 2

    def __init__(self, pixels: int = 2):
        if pixels < 0:
            raise invalid("pixels", "be 0 or more", pixels)
        self.pixels = int(pixels)

    def apply(self, pixels: Any, uniforms: Any) -> Any:
        """See `Transform.apply`."""
        if len(pixels.shape) != 4 or not self.pixels:
            return pixels
        shifts = tf.cast(tf.floor(uniforms * (2 * self.pixels + 1)), tf.int32) - self.pixels
        return roll(pixels, shifts)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"pixels": self.pixels}


@keras.saving.register_keras_serializable(package="keras_zskd")
class AffineJitter(Transform):
    """Small random rotations, scalings and shifts with cropping (Mopuri et al., ECCV 2018).

    The angles and scales are in the released ZSKD code, a remnant of the code for class
    impressions. The shift is our interpretation of a random crop: pixels that leave the frame are
    cut off, and the opposite side is filled by mirroring. All of it is one bilinear resampling.

    Args:
        degrees: Largest rotation in either direction, in degrees, 0 or more.
        scales: Scale factors, each positive, drawn with equal probability; above 1 magnifies.
        pixels: Largest shift along both axes, in pixels, 0 or more.
    """

    num_draws = 4

    def __init__(
        self,
        degrees: float = 5.0,
        scales: Sequence[float] = (0.95, 0.975, 1.0, 1.025, 1.05),
        pixels: float = 2.0,
    ):
        if not (degrees >= 0 and pixels >= 0):
            raise InputError(
                "`degrees` and `pixels` must be 0 or more. Received: "
                f"degrees={degrees}, pixels={pixels}. Pass 0 for no rotation or no shift."
            )
        if not scales or any(not scale > 0 for scale in scales):
            raise invalid(
                "scales",
                "be one or more positive factors",
                scales,
                fix="Pass (1.0,) for no scaling.",
            )
        self.degrees = float(degrees)
        self.scales = tuple(float(scale) for scale in scales)
        self.pixels = float(pixels)

    def apply(self, pixels: Any, uniforms: Any) -> Any:
        """See `Transform.apply`."""
        if len(pixels.shape) != 4:
            return pixels
        angle, scale, shift_y, shift_x = tf.unstack(uniforms, axis=1)
        number = tf.cast(scale * len(self.scales), tf.int32)
        return warp(
            pixels,
            Affine(
                angle=np.deg2rad(self.degrees) * (2.0 * angle - 1.0),
                zoom=1.0 / tf.gather(tf.constant(self.scales), number),
                shift_y=self.pixels * (2.0 * shift_y - 1.0),
                shift_x=self.pixels * (2.0 * shift_x - 1.0),
            ),
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"degrees": self.degrees, "scales": list(self.scales), "pixels": self.pixels}


@tf.custom_gradient
def roll(images: Any, shifts: Any) -> tuple[Any, Any]:
    """Roll each image `(N, H, W, C)` by its own `shifts` `(N, 2)`, down and to the right."""

    # The gradient of a permutation is its inverse, again a gather. The gradient of tf.gather would
    # be a slower scatter-add.
    def gradient(upstream: Any) -> tuple[Any, None]:
        # The function of a SavedModel passes gradients of unknown shape.
        return _gather(tf.ensure_shape(upstream, images.shape), shifts), None

    return _gather(images, -shifts), gradient


def _gather(images: Any, shifts: Any) -> Any:
    """`out[n, y, x] = images[n, (y + shifts[n, 0]) % H, (x + shifts[n, 1]) % W]`."""
    _, height, width, channels = images.shape
    y = tf.math.floormod(tf.range(height)[None] + shifts[:, :1], height)
    x = tf.math.floormod(tf.range(width)[None] + shifts[:, 1:], width)
    places = tf.reshape(y[:, :, None] * width + x[:, None, :], (-1, height * width))
    flat = tf.reshape(images, (-1, height * width, channels))
    return tf.reshape(tf.gather(flat, places, axis=1, batch_dims=1), tf.shape(images))
