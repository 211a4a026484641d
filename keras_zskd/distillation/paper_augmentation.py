"""The augmentations of the released ZSKD code, drawn anew for every batch."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.distillation.affine import Affine, warp
from keras_zskd.distillation.augmentation import Augmentation

# How many of the 106 copies of an impression the released code makes in each way.
_COUNTS = (
    ("original", 1),
    ("zoom", 3),
    ("translate", 4),
    ("rotate", 10),
    ("flip", 3),
    ("salt_and_pepper", 1),
    ("gaussian", 1),
    ("zoom_translate", 12),
    ("translate_rotate", 40),
    ("zoom_rotate", 30),
    ("pepper_gaussian", 1),
)
_ZOOMS = (0.9, 0.75, 0.6)
_TRANSLATION = 0.2
_SALT_SHARE = 0.2 / 1.2
_NOISY_PIXELS = 0.004


@keras.saving.register_keras_serializable(package="keras_zskd")
class PaperAugmentation(Augmentation):
    """One of the 106 versions of each impression that the released code makes, at random.

    The original; zooms to the central 90, 75 and 60 %; translations by 20 % in four directions with
    white behind; ten rotations from -90 to 90 degrees; three flips; salt and pepper on 0.4 % of the
    pixels; Gaussian noise blended 3:1; and the products zoom x translation, translation x rotation,
    zoom x rotation. The released code writes all 106 to disk; drawing them anew needs no disk and
    shows the same distribution. Images `(N, H, W, C)` with H = W.
    """

    def __call__(self, images: Any, input_range: tuple[float, float]) -> Any:
        """See `Augmentation.__call__`."""
        low, high = input_range
        count = tf.shape(images)[0]
        pick = tf.random.uniform((count,), 0, sum(n for _, n in _COUNTS), dtype=tf.int32)
        chosen, first = {}, 0
        for name, copies in _COUNTS:
            chosen[name] = (pick >= first) & (pick < first + copies)
            first += copies

        def one_of(*values: float) -> Any:
            return tf.gather(
                tf.constant(values), tf.random.uniform((count,), 0, len(values), tf.int32)
            )

        def where(names: tuple[str, ...], value: Any, otherwise: float) -> Any:
            is_on = tf.reduce_any(tf.stack([chosen[name] for name in names]), axis=0)
            return tf.where(is_on, value, otherwise)

        side = tf.random.uniform((count,), 0, 4, tf.int32)
        step = _TRANSLATION * images.shape[1]
        moves = ("translate", "zoom_translate", "translate_rotate")
        angles = tuple(math.radians(-90 + 20 * i) for i in range(10))
        images = warp(
            images,
            Affine(
                angle=where(("rotate", "translate_rotate", "zoom_rotate"), one_of(*angles), 0.0),
                zoom=where(("zoom", "zoom_translate", "zoom_rotate"), one_of(*_ZOOMS), 1.0),
                shift_y=where(moves, tf.gather([step, -step, 0.0, 0.0], side), 0.0),
                shift_x=where(moves, tf.gather([0.0, 0.0, step, -step], side), 0.0),
            ),
            fill_mode="CONSTANT",
            fill_value=high,
        )
        flip = tf.where(chosen["flip"], tf.random.uniform((count,), 1, 4, tf.int32), 0)

        def on(mask: Any) -> Any:
            return tf.reshape(mask, (-1, 1, 1, 1))

        images = tf.where(on(flip == 1), images[:, :, ::-1], images)
        images = tf.where(on(flip == 2), images[:, ::-1], images)
        images = tf.where(on(flip == 3), tf.transpose(images, (0, 2, 1, 3)), images)
        noise = tf.random.normal(tf.shape(images), 0.0, math.sqrt(0.1) * (high - low))
        blended = 0.75 * images + 0.25 * tf.clip_by_value(images + noise, low, high)
        images = tf.where(on(chosen["gaussian"] | chosen["pepper_gaussian"]), blended, images)
        spot = tf.random.uniform(tf.shape(images)[:3])[..., None] < _NOISY_PIXELS
        is_salt = tf.random.uniform(tf.shape(images)[:3])[..., None] < _SALT_SHARE
        is_salt &= on(chosen["salt_and_pepper"])
        spot &= on(chosen["salt_and_pepper"] | chosen["pepper_gaussian"])
        return tf.where(spot, tf.where(is_salt, high, low), images)
