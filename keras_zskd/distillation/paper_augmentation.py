"""The augmentations of the released ZSKD code, drawn anew for every batch."""

import math
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.distillation.affine import Affine, warp
from keras_zskd.distillation.augmentation import Augmentation
from keras_zskd.lowering.compiled import compiled_on_cpu

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
_NOISY = ("salt_and_pepper", "gaussian", "pepper_gaussian")
_ZOOMS = (0.9, 0.75, 0.6)
_ANGLES = tuple(math.radians(-90 + 20 * i) for i in range(10))
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
        # One row each for what is made, and with which zoom, angle, side and flip.
        draws = tf.random.uniform((5, count))
        images = _moved(images, draws, high)
        # Drawing noise costs more than all the rest, and 3 images of 106 need it. It is drawn for
        # more images than ever come; if more did (one batch in 10^10), some would share theirs.
        copies = dict(_COUNTS)
        share = sum(copies[name] for name in _NOISY) / sum(copies.values())
        num_drawn = tf.minimum(
            count, 16 + tf.cast(2 * share * tf.cast(count, tf.float32), tf.int32)
        )
        shape = (num_drawn, *images.shape[1:])
        normal, spots = tf.random.normal(shape), tf.random.uniform((*shape[:3], 1))
        return _flipped_or_noisy(images, draws, normal, spots, low, high)


def _chosen(draw: Any) -> dict[str, Any]:
    """For each way of making a copy, which images it is for: `(N,)`, of draws in [0, 1)."""
    pick = tf.cast(draw * sum(copies for _, copies in _COUNTS), tf.int32)
    chosen, first = {}, 0
    for name, copies in _COUNTS:
        chosen[name] = (pick >= first) & (pick < first + copies)
        first += copies
    return chosen


def _any_of(chosen: dict[str, Any], names: tuple[str, ...]) -> Any:
    return tf.reduce_any(tf.stack([chosen[name] for name in names]), axis=0)


def _one_of(values: tuple[float, ...], draw: Any) -> Any:
    return tf.gather(tf.constant(values), tf.cast(draw * len(values), tf.int32))


def _on(values: Any) -> Any:
    """Values of images `(N,)`, for images `(N, H, W, C)`."""
    return tf.reshape(values, (-1, 1, 1, 1))


@compiled_on_cpu
def _moved(images: Any, draws: Any, white: float) -> Any:
    """Zooms, translations and rotations."""
    chosen = _chosen(draws[0])
    step = _TRANSLATION * images.shape[1]

    def where(
        names: tuple[str, ...], values: tuple[float, ...], draw: Any, otherwise: float
    ) -> Any:
        return tf.where(_any_of(chosen, names), _one_of(values, draw), otherwise)

    moves = ("translate", "zoom_translate", "translate_rotate")
    return warp(
        images,
        Affine(
            angle=where(("rotate", "translate_rotate", "zoom_rotate"), _ANGLES, draws[1], 0.0),
            zoom=where(("zoom", "zoom_translate", "zoom_rotate"), _ZOOMS, draws[2], 1.0),
            shift_y=where(moves, (step, -step, 0.0, 0.0), draws[3], 0.0),
            shift_x=where(moves, (0.0, 0.0, step, -step), draws[3], 0.0),
        ),
        fill_mode="CONSTANT",
        fill_value=white,
    )


@compiled_on_cpu
def _flipped_or_noisy(
    images: Any, draws: Any, normal: Any, spots: Any, low: float, high: float
) -> Any:
    """Flips, Gaussian noise, salt and pepper, with noise `(n, H, W, C)` and spots `(n, H, W, 1)`."""
    chosen = _chosen(draws[0])
    flip = _on(tf.where(chosen["flip"], tf.cast(draws[4] * 3, tf.int32), -1))
    images = tf.where(flip == 0, images[:, :, ::-1], images)
    images = tf.where(flip == 1, images[:, ::-1], images)
    images = tf.where(flip == 2, tf.transpose(images, (0, 2, 1, 3)), images)
    # The k-th noisy image of the batch takes the k-th noise.
    mine = tf.cumsum(tf.cast(_any_of(chosen, _NOISY), tf.int32), exclusive=True)
    mine %= tf.shape(normal)[0]
    normal, spots = tf.gather(normal, mine), tf.gather(spots, mine)
    noise = math.sqrt(0.1) * (high - low) * normal
    blended = 0.75 * images + 0.25 * tf.clip_by_value(images + noise, low, high)
    images = tf.where(_on(_any_of(chosen, ("gaussian", "pepper_gaussian"))), blended, images)
    is_salt = _on(chosen["salt_and_pepper"]) & (spots < _NOISY_PIXELS * _SALT_SHARE)
    is_spot = _on(_any_of(chosen, ("salt_and_pepper", "pepper_gaussian"))) & (spots < _NOISY_PIXELS)
    return tf.where(is_spot, tf.where(is_salt, high, low), images)
