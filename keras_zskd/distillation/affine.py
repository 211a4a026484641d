"""Affine maps of a batch of images, each with its own parameters, in one resampling."""

import dataclasses
from typing import Any

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Affine:
    """Where each output pixel looks, relative to the centre of the image.

    Attributes:
        angle: `(N,)` radians.
        zoom: `(N,)` factor of the distance from the centre: below 1 magnifies.
        shift_y: `(N,)` pixels.
        shift_x: `(N,)` pixels.
        aspect: `(N,)` or float, extra factor of the horizontal distance.
        shear: `(N,)` or float, radians between the axes.
    """

    angle: Any
    zoom: Any
    shift_y: Any
    shift_x: Any
    aspect: Any = 1.0
    shear: Any = 0.0


def warp(images: Any, affine: Affine, fill_mode: str = "REFLECT", fill_value: float = 0.0) -> Any:
    """Resample `(N, H, W, C)` images bilinearly.

    Args:
        images: float32.
        affine: The maps.
        fill_mode: "REFLECT" mirrors what lies outside; "CONSTANT" puts `fill_value` there.
        fill_value: See `fill_mode`.
    """
    height, width = images.shape[1], images.shape[2]
    center_y, center_x = (height - 1) / 2, (width - 1) / 2
    zoom_x = affine.zoom * affine.aspect
    a, b = zoom_x * tf.cos(affine.angle), -zoom_x * tf.sin(affine.angle + affine.shear)
    d, e = affine.zoom * tf.sin(affine.angle), affine.zoom * tf.cos(affine.angle + affine.shear)
    c = center_x - a * center_x - b * center_y + affine.shift_x
    f = center_y - d * center_x - e * center_y + affine.shift_y
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=-1),
        output_shape=(height, width),
        interpolation="BILINEAR",
        fill_mode=fill_mode,
        fill_value=fill_value,
    )
