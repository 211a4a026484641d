"""Components of the families of pictures: smooth random fields, natural colors, shapes."""

import functools
import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.inputs.procedural.draws import Draws


def field(draws: Draws, height: int, width: int, exponent: Any, finest: int = 1) -> Any:
    """Generate noise `(N, H, W)` with amplitude `f^-exponent`, zero mean and unit variance.

    The noise is a sum of octaves: white noise on grids of size, size / 2, size / 4, .., each
    enlarged by bicubic interpolation. An octave at scale `s` covers frequencies around `1 / s`, so
    its standard deviation is `s^(exponent - 1)` in two dimensions.

    Args:
        draws: Random numbers.
        height: Height in pixels.
        width: Width in pixels.
        exponent: `(N, 1)` or float; 1 for photographs (van der Schaaf and van Hateren, 1996).
        finest: Scale of the finest octave in pixels, a power of 2.
    """
    total, scale = 0.0, finest
    while scale == finest or scale <= max(height, width) // 2:
        rows, columns = max(2, height // scale), max(2, width // scale)
        grid = tf.reshape(draws.normal(rows * columns), (-1, rows, columns))
        if (rows, columns) != (height, width):
            grid = tf.einsum("ih,nhw,jw->nij", enlarge(rows, height), grid, enlarge(columns, width))
        total += tf.reshape(float(scale) ** (exponent - 1.0), (-1, 1, 1)) * grid
        scale *= 2
    total -= tf.reduce_mean(total, [1, 2], keepdims=True)
    return total * tf.math.rsqrt(tf.reduce_mean(total**2, [1, 2], keepdims=True) + 1e-6)


def bands(luminance: Any, blue_yellow: Any, green_red: Any, channels: int) -> Any:
    """Combine three planes that broadcast to `(N, H, W)` into pixels `(N, H, W, C)`.

    For three channels, the axes are luminance and two opponent colors, like the principal axes of
    photographs. For any other number, they are the first three cosines along the channels.
    """
    place = np.pi * np.arange(channels) / max(1, channels - 1)
    axes = np.stack([np.ones(channels), np.cos(place), np.cos(2 * place)])
    if channels == 3:
        axes = np.array([[1.0, 1.0, 1.0], [0.6, 0.3, -1.0], [1.0, -1.0, 0.0]])
    planes = (luminance, blue_yellow, green_red) if channels > 1 else (luminance,)
    parts = [
        plane[..., None] * axis.astype("float32") for plane, axis in zip(planes, axes, strict=False)
    ]
    return sum(parts[1:], parts[0])


def lit(draws: Draws, pixels: Any) -> Any:
    """Convert values around 0 to `(N, H, W, C)` in [0, 1], with random lighting and contrast."""
    _, height, width, _ = pixels.shape
    slope_y, slope_x = per_picture(draws.normal(2, 0.1))
    y, x = grid(height, width)
    light = slope_y * y + slope_x * x
    contrast, level = per_picture(draws.normal(2))
    lighted = tf.exp(0.3 * contrast)[..., None] * (pixels + light[..., None])
    return tf.clip_by_value(0.48 + lighted + 0.08 * level[..., None], 0.0, 1.0)


def grid(height: int, width: int) -> tuple[Any, Any]:
    """Return row `(1, H, 1)` and column `(1, 1, W)` of each pixel, from -1 to 1."""
    y, x = tf.linspace(-1.0, 1.0, height), tf.linspace(-1.0, 1.0, width)
    return tf.reshape(y, (1, -1, 1)), tf.reshape(x, (1, 1, -1))


def per_picture(numbers: Any) -> list[Any]:
    """Split `(N, K)` into K arrays `(N, 1, 1)`."""
    return [column[:, None] for column in tf.split(numbers, numbers.shape[1], axis=1)]


def rounded(y: Any, x: Any, roundness: Any) -> Any:
    """Compute a norm with a diamond (-1), circle (0) or square (1) as unit ball, without powers."""
    y, x = tf.abs(y), tf.abs(x)
    circle = tf.sqrt(y * y + x * x + 1e-12)
    square, diamond = tf.maximum(y, x), y + x
    return (
        circle
        + tf.maximum(roundness, 0.0) * (square - circle)
        + tf.maximum(-roundness, 0.0) * (diamond - circle)
    )


def coverage(distance: Any, radius: Any, size: int) -> Any:
    """Compute the fraction of each pixel where `distance < 1`; the edge is one pixel wide."""
    return tf.clip_by_value((1.0 - distance) * radius * (size / 2) + 0.5, 0.0, 1.0)


@functools.cache
def enlarge(size: int, to: int) -> np.ndarray:
    """Return the matrix `(to, size)` of bicubic interpolation from `size` points to `to` points."""
    with tf.init_scope():  # A constant, even while a tf.function is traced.
        unit = tf.reshape(tf.eye(size), (size, size, 1, 1))  # One image per point.
        return np.asarray(tf.image.resize(unit, (to, 1), "bicubic"))[:, :, 0, 0].T


def enlarged(images: Any, height: int, width: int) -> Any:
    """Resize images `(N, h, w, C)` to `(N, height, width, C)` by bicubic interpolation."""
    rows, columns = enlarge(images.shape[1], height), enlarge(images.shape[2], width)
    return tf.einsum("ih,nhwc,jw->nijc", rows, images, columns)


def log_uniform(draws: Draws, count: int, low: float, high: float) -> Any:
    """Draw log-uniform numbers `(N, count)`."""
    return tf.exp(draws.uniform(count, math.log(low), math.log(high)))
