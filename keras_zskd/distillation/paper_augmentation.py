"""Augmentations of the released ZSKD code, drawn for every batch."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.distillation.augmentation import Augmentation
from keras_zskd.inputs.affine import Affine, between_pixels, looked_at, pixels

# Number of copies of each kind among the 106 copies of an impression in the released code.
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
_ANGLES = tuple(math.radians(-90 + 20 * i) for i in range(10))
_TRANSLATION = 0.2
_SPOTS = 0.004
_SALT_SHARE = 0.2
_NOISE_SEED = 777


@keras.saving.register_keras_serializable(package="keras_zskd")
class PaperAugmentation(Augmentation):
    """Draws one of the 106 versions of each impression that the released code makes.

    These are the original; zooms to the central 90, 75 and 60 % (bilinear); translations by 20 % of
    the side, rounded down, in four directions (filled with white); ten rotations from -90 to 90
    degrees (nearest neighbor, filled with black); three flips; salt and pepper; "Gaussian" noise;
    both of these; and the combinations zoom x translation, translation x rotation, zoom x rotation.

    The released code seeds its noise generator identically for every image, so that all images have
    the same spots and the same noise. Its "Gaussian" noise is uniform: `0.75 x + 0.0625 u` on
    pixels in [0, 1]. Both are reproduced here. The released code writes all 106 versions to disk;
    drawing them at each step needs no disk space and has the same distribution. If H and W differ, the
    transposition, one of the three flips, is omitted. Inputs that are not images `(N, H, W, C)` do
    not change.
    """

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`."""
        if len(images.shape) != 4:
            return images
        # One row each for the kind, angle, zoom, direction and flip.
        draws = tf.random.stateless_uniform((5, tf.shape(images)[0]), seed)
        return _noisy(_flipped(_moved(images, draws, *input_range), draws), draws, *input_range)


def _is_any(draws: Any, *names: str) -> Any:
    """Mask `(N,)` of the images that are drawn as one of these versions."""
    pick = tf.cast(draws[0] * sum(copies for _, copies in _COUNTS), tf.int32)
    is_chosen, first = tf.zeros_like(pick, tf.bool), 0
    for name, copies in _COUNTS:
        if name in names:
            is_chosen |= (pick >= first) & (pick < first + copies)
        first += copies
    return is_chosen


def _one_of(values: tuple[float, ...], draw: Any) -> Any:
    return tf.gather(tf.constant(values), tf.cast(draw * len(values), tf.int32))


def _on(values: Any) -> Any:
    """Reshape values `(N,)` to broadcast with images `(N, H, W, C)`."""
    return tf.reshape(values, (-1, 1, 1, 1))


@compiled_on_cpu
def _moved(images: Any, draws: Any, low: float, high: float) -> Any:
    """Zoom, then translate, then rotate, in the order of the released code."""
    height, width = images.shape[1:3]
    angle, zoom, shift_y, shift_x = (
        tf.where(_is_any(draws, *names), _one_of(values, draw), otherwise)
        for names, values, draw, otherwise in (
            (("rotate", "translate_rotate", "zoom_rotate"), _ANGLES, draws[1], 0.0),
            (("zoom", "zoom_translate", "zoom_rotate"), _ZOOMS, draws[2], 1.0),
            (
                ("translate", "zoom_translate", "translate_rotate"),
                (int(_TRANSLATION * height), -int(_TRANSLATION * height), 0.0, 0.0),
                draws[3],
                0.0,
            ),
            (
                ("translate", "zoom_translate", "translate_rotate"),
                (0.0, 0.0, int(_TRANSLATION * width), -int(_TRANSLATION * width)),
                draws[3],
                0.0,
            ),
        )
    )
    none = tf.zeros_like(angle)

    # Trace each pixel of the result back to its source, from the last map to the first.
    y, x = looked_at(Affine(angle, none + 1.0, none, none), *pixels(height, width), height, width)
    y, x = tf.floor(y + 0.5), tf.floor(x + 0.5)
    is_black = _is_outside(y, x, height, width)
    y, x = y - shift_y[:, None, None], x - shift_x[:, None, None]
    is_white = _is_outside(y, x, height, width)
    y, x = looked_at(Affine(none, zoom, none, none), y, x, height, width)
    moved = between_pixels(images, y, x)
    return tf.where(is_black, low, tf.where(is_white, high, moved))


def _is_outside(y: Any, x: Any, height: int, width: int) -> Any:
    return ((y < 0) | (y >= height) | (x < 0) | (x >= width))[..., None]


@compiled_on_cpu
def _flipped(images: Any, draws: Any) -> Any:
    flip = _on(tf.where(_is_any(draws, "flip"), tf.cast(draws[4] * 3, tf.int32), -1))
    images = tf.where(flip == 0, images[:, :, ::-1], images)
    images = tf.where(flip == 1, images[:, ::-1], images)
    if images.shape[1] != images.shape[2]:
        return images
    return tf.where(flip == 2, tf.transpose(images, (0, 2, 1, 3)), images)


@compiled_on_cpu
def _noisy(images: Any, draws: Any, low: float, high: float) -> Any:
    """Salt and pepper, then noise, the same for all images."""
    height, width, channels = images.shape[1:]
    spots = _SPOTS * height * width * channels
    is_salt = _spots(height, width, math.ceil(spots * _SALT_SHARE))
    is_pepper = _spots(height, width, math.ceil(spots * (1 - _SALT_SHARE)))
    spotted = tf.where(is_pepper, low, tf.where(is_salt, high, images))
    is_spotted = _is_any(draws, "salt_and_pepper", "pepper_gaussian")
    images = tf.where(_on(is_spotted), spotted, images)
    uniform = np.random.RandomState(_NOISE_SEED).uniform(size=(height, width, 1))
    blended = 0.75 * images + 0.25 * low + 0.0625 * (high - low) * uniform.astype("float32")
    return tf.where(_on(_is_any(draws, "gaussian", "pepper_gaussian")), blended, images)


def _spots(height: int, width: int, count: int) -> np.ndarray:
    """Mask `(H, W, 1)` of the spots of the released code; never in the last row and column."""
    random = np.random.RandomState(_NOISE_SEED)
    mask = np.zeros((height, width, 1), bool)
    mask[random.randint(0, height - 1, count), random.randint(0, width - 1, count)] = True
    return mask
