"""Affine transformations of a batch of images, with parameters per image, in one resampling."""

from typing import Any, NamedTuple

import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu


class Affine(NamedTuple):
    """The map from output to input pixels, relative to the center of the image.

    Attributes:
        angle: `(N,)`, rotation in radians.
        zoom: `(N,)`, factor of the distance from the center; values below 1 magnify.
        shift_y: `(N,)`, vertical shift in pixels.
        shift_x: `(N,)`, horizontal shift in pixels.
        aspect: `(N,)` or float, additional factor of the horizontal distance.
        shear: `(N,)` or float, shear angle in radians.
    """

    angle: Any
    zoom: Any
    shift_y: Any
    shift_x: Any
    aspect: Any = 1.0
    shear: Any = 0.0


@compiled_on_cpu
def warp(images: Any, affine: Affine) -> Any:
    """Resample images by affine maps, with bilinear interpolation and reflection at the edges.

    Equivalent to the operation `ImageProjectiveTransformV3`, which XLA does not support: Keras
    could not compile a training step with it, as it does on a GPU.

    Args:
        images: `(N, H, W, C)` float32.
        affine: The maps.
    """
    images = tf.convert_to_tensor(images)
    height, width = images.shape[1:3]
    row, column = pixels(height, width)
    y, x = looked_at(affine, row, column, height, width)
    return between_pixels(images, _mirrored(y, height), _mirrored(x, width))


def pixels(height: int, width: int) -> tuple[Any, Any]:
    """Return the row `(H, 1)` and the column `(W,)` of each pixel."""
    return tf.range(height, dtype=tf.float32)[:, None], tf.range(width, dtype=tf.float32)


def looked_at(affine: Affine, row: Any, column: Any, height: int, width: int) -> tuple[Any, Any]:
    """Compute the input row and column `(N, H, W)` of each output pixel."""
    angle, zoom, shift_y, shift_x, aspect, shear = (
        tf.reshape(value, (-1, 1, 1)) for value in affine
    )
    row, column = row - (height - 1) / 2, column - (width - 1) / 2
    x = aspect * zoom * (tf.cos(angle) * column - tf.sin(angle + shear) * row) + shift_x
    y = zoom * (tf.sin(angle) * column + tf.cos(angle + shear) * row) + shift_y
    return y + (height - 1) / 2, x + (width - 1) / 2


def _mirrored(place: Any, size: int) -> Any:
    """Map positions to `[-1/2, size - 1/2]` by reflection at the edges of the image."""
    from_edge = place + 0.5
    from_edge -= 2 * size * tf.floor(from_edge * (0.5 / size))
    return tf.minimum(from_edge, 2 * size - from_edge) - 0.5


def between_pixels(images: Any, y: Any, x: Any) -> Any:
    """Interpolate `(N, H', W', C)` images at rows and columns `(N, H, W)`, clipped to the image."""
    height, width, channels = images.shape[1:]
    y, x = tf.clip_by_value(y, 0.0, height - 1.0), tf.clip_by_value(x, 0.0, width - 1.0)
    top, left = tf.floor(y), tf.floor(x)
    bottom, right = tf.minimum(top + 1, height - 1.0), tf.minimum(left + 1, width - 1.0)
    # One list with the pixels of all images: a gather with batch dimensions takes twice as long.
    flat = tf.reshape(images, (-1, channels))
    first = tf.reshape(tf.range(tf.shape(images)[0]) * (height * width), (-1, 1, 1))

    def pixel(row: Any, column: Any) -> Any:
        return tf.gather(flat, first + tf.cast(row * width + column, tf.int32))

    def mix(one: Any, other: Any, share: Any) -> Any:
        return one + share[..., None] * (other - one)

    above = mix(pixel(top, left), pixel(top, right), x - left)
    below = mix(pixel(bottom, left), pixel(bottom, right), x - left)
    return mix(above, below, y - top)
