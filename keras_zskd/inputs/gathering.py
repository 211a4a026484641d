"""`gather`: read examples of a `tf.data.Dataset` into arrays, and check their values."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.own_data import OwnData, check_pixels

_BATCH = 512


def gather(
    source: tf.data.Dataset,
    convert: Callable[[Any], Any],
    image_shape: tuple[int, ...],
    own: OwnData | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Gather all examples in preallocated arrays: a large split must not be in memory twice.

    Args:
        source: Pairs of one image and its label.
        convert: A function from an image to the model's input.
        image_shape: Shape of the model's input.
        own: The data of the user that `source` reads, whose pixels are from 0 to 255 in any integer
            type; TFDS uses the whole range of the type.

    Returns:
        Inputs, float32 `(N, *image_shape)`, and labels as they are in `source`.

    Raises:
        InputError: If there are no images, integer images have values that are not from 0 to 255,
            or others are not finite, or the examples cannot be read or never end.
    """
    if int(source.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise InputError(
            "`dataset` must end. Received: a tf.data.Dataset of infinite size, as after repeat(). "
            "Remove repeat(), or call take(n)."
        )
    try:
        return _gather(source, convert, image_shape, own is not None)
    except tf.errors.OpError as error:
        raise _unreadable(error, own.files if own else ()) from error


def _unreadable(error: tf.errors.OpError, files: Sequence[str]) -> InputError:
    """Return a sentence with the file that TensorFlow does not name, or with its own reason."""
    for file in files:
        try:
            tf.io.decode_image(tf.io.read_file(file), expand_animations=False)
        except tf.errors.OpError:
            return InputError(
                "`dataset` must have only images that can be read. Received: the damaged file "
                f"{file!r}. Remove or replace it."
            )
    reason = re.sub(r"{{.*?}} *| *\[Op:.*\]", "", str(error).strip()).splitlines()
    return InputError(
        "`dataset` must have only examples that can be read. Received: the error "
        f"{type(error).__name__} of TensorFlow ({reason[0].rstrip('.') if reason else ''}). Remove or "
        "fix the example that causes it."
    )


def _gather(
    source: tf.data.Dataset,
    convert: Callable[[Any], Any],
    image_shape: tuple[int, ...],
    is_own: bool,
) -> tuple[np.ndarray, np.ndarray]:

    def read(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        bounds = tf.zeros(2, tf.int64)
        if is_own and image.dtype.is_integer and image.dtype != tf.uint8:
            bounds = tf.cast(tf.stack([tf.reduce_min(image), tf.reduce_max(image)]), tf.int64)
            # TensorFlow would scale by the maximum of the type.
            image = tf.cast(image, tf.uint8)
        return convert(image), label, bounds

    batches = source.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(_BATCH)
    size = int(source.cardinality())
    if size < 0:
        size = sum(len(labels) for _, labels, _ in batches.as_numpy_iterator())
    pixels = np.empty((size, *image_shape), np.float32)
    labels: list[np.ndarray] = []
    start = 0
    for images, classes, bounds in batches.prefetch(2).as_numpy_iterator():
        check_pixels(bounds[:, 0].min(), bounds[:, 1].max())
        if not np.isfinite(images).all():
            raise InputError(
                "`dataset` must have finite numbers as images. Received: NaN or infinite values in "
                f"one of the images {start} to {start + len(images) - 1}. Remove or replace them."
            )
        pixels[start : start + len(classes)] = images
        labels.append(classes)
        start += len(classes)
    if not labels:
        raise InputError("`dataset` must have one image at least. Received: an empty dataset.")
    return pixels, np.concatenate(labels)
