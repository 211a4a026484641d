"""Pictures of impressions without a plotting library: labeled grids, heat maps, PNG bytes."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import Range, comparable

FONT_SIZE = 11
_LINE = FONT_SIZE + 3
_MARGIN = 2
_WHITE = 255
_INK = (32, 32, 32)
_HEAT = (255.0, 96.0, 0.0)
# From low to high; also readable in grayscale.
_COUNTS = np.array([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]], np.float64)


def to_pixels(images: Any, input_range: Range = (0.0, 1.0)) -> np.ndarray:
    """Convert inputs of a classifier to RGB pixels.

    One channel is shown as gray, three as colors, and any other number as the gray of their mean.
    Inputs that are not images, `(N, D)` or of higher rank, are reshaped to a square.

    Args:
        images: `(N, H, W, C)`, `(N, H, W)` or `(N, D)` in `input_range`. Values outside are
            clipped, and NaN is shown as the lowest value.
        input_range: `(low, high)`, `low < high`.

    Returns:
        `(N, H, W, 3)` uint8.

    Raises:
        InputError: If there are no images, or the range is empty.
    """
    images, (low, high) = comparable(images, input_range)
    if images.ndim < 2 or not images.size or not high > low:
        raise InputError(
            "`images` must have shape (images, height, width, channels), with at least one image, "
            "and `input_range` must be (low, high) with low < high. Received: images of shape "
            f"{images.shape}, input_range={input_range}."
        )
    if images.ndim == 2 or images.ndim > 4:
        flat = images.reshape(len(images), -1)
        side = math.ceil(math.sqrt(flat.shape[1]))
        flat = np.pad(flat, ((0, 0), (0, side**2 - flat.shape[1])), constant_values=low)
        images = flat.reshape(len(images), side, side, 1)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.shape[-1] not in (1, 3):
        images = images.mean(axis=-1, keepdims=True)
    shown = np.clip((np.nan_to_num(images, nan=low) - low) / (high - low), 0.0, 1.0)
    pixels = np.round(255.0 * shown).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3)).copy()


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resize pixels `(N, H, W, 3)` so that the longer side is near `size`.

    Small images are enlarged without blur, by an integer factor, so that every pixel is a square.
    """
    height, width = pixels.shape[1:3]
    longest = max(height, width)
    if longest <= size:
        factor = size // longest
        return pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    target = [max(1, round(side * size / longest)) for side in (height, width)]
    return np.asarray(tf.image.resize(pixels, target, method="area")).round().astype(np.uint8)


def grid(
    images: Any,
    labels: Sequence[Any] | None = None,
    input_range: Range = (0.0, 1.0),
    columns: int | None = None,
    cell: int = 64,
) -> np.ndarray:
    """Arrange images in a grid, each with its label below.

    Args:
        images: `(N, H, W, C)` in `input_range`, or another shape that `to_pixels` accepts.
        labels: One number or text per image, of one or more lines. Text that does not fit is
            truncated; non-ASCII characters are shown as question marks. None for no labels.
        input_range: `(low, high)` of the images.
        columns: Number of images per row, positive. By default the grid is about square.
        cell: Approximate length of the longer side of an image, in pixels, positive.

    Returns:
        `(height, width, 3)` uint8.

    Raises:
        InputError: If the numbers of labels and images differ, or `columns` or `cell` is not
            positive.

    Example:
        >>> grid(np.zeros((4, 8, 8, 1)), labels=["a", "b", "c", "d"], columns=2).shape
        (162, 134, 3)
    """
    pixels = to_pixels(images, input_range)
    count = len(pixels)
    if (columns is not None and columns < 1) or cell < 1:
        raise InputError(
            f"`columns` and `cell` must be positive. Received: columns={columns}, cell={cell}."
        )
    if labels is not None and len(labels) != count:
        raise InputError(
            "`labels` must have one label per image. "
            f"Received: {len(labels)} labels for {count} images."
        )
    pixels = resize(pixels, cell)
    height, width = pixels.shape[1:3]
    texts = [] if labels is None else [str(label).split("\n") for label in labels]
    strip = _LINE * max((len(lines) for lines in texts), default=0)
    columns = min(count, columns or math.ceil(math.sqrt(count)))
    rows = math.ceil(count / columns)
    step_y, step_x = height + strip + _MARGIN, width + _MARGIN
    canvas = np.full((rows * step_y + _MARGIN, columns * step_x + _MARGIN, 3), _WHITE, np.uint8)
    corners = [
        (_MARGIN + i // columns * step_y, _MARGIN + i % columns * step_x) for i in range(count)
    ]
    for image, (top, left) in zip(pixels, corners, strict=True):
        canvas[top : top + height, left : left + width] = image
    lines = [
        (left, top + height + _LINE * number, line)
        for (top, left), text in zip(corners, texts, strict=False)
        for number, line in enumerate(text)
    ]
    return write(canvas, lines, width - 3) if lines else canvas


def write(
    canvas: np.ndarray, lines: Sequence[tuple[int, int, str]], width: int | None = None
) -> np.ndarray:
    """Write text on a picture.

    Args:
        canvas: `(H, W, 3)` uint8; not changed.
        lines: Tuples `(x, y, text)` with the upper left corner of each line.
        width: Largest width of a line in pixels; None for no limit.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(FONT_SIZE)
    for x, y, text in lines:
        text = text.encode("ascii", "replace").decode("ascii")
        while width is not None and len(text) > 1 and draw.textlength(text, font=font) > width:
            text = text.rstrip(".")[:-1] + "."
        draw.text((x, y), text, fill=_INK, font=font)
    return np.asarray(picture)


def heat(values: Any, high: float | None = None) -> np.ndarray:
    """Map values `(H, W)` from 0 to `high` to colors `(H, W, 3)` uint8, from light to dark."""
    values = np.asarray(values, np.float64)
    top = float(values.max(initial=0.0)) if high is None else high
    position = np.clip(values / (top or 1.0), 0.0, 1.0) * (len(_COUNTS) - 1)
    channels = [np.interp(position, range(len(_COUNTS)), _COUNTS[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(
    images: Any, maps: Any, input_range: Range = (0.0, 1.0), strength: float = 0.7
) -> np.ndarray:
    """Overlay images with heat maps.

    Args:
        images: `(N, H, W, C)` in `input_range`.
        maps: `(N, H, W)` in [0, 1].
        input_range: `(low, high)` of the images.
        strength: Opacity of the heat color where the map is 1, in [0, 1].

    Returns:
        `(N, H, W, 3)` uint8.

    Raises:
        InputError: If the shapes do not match.
    """
    pixels = to_pixels(images, input_range)
    maps = np.asarray(maps, np.float32)
    if maps.shape != pixels.shape[:3]:
        raise InputError(
            f"`maps` must have one value per pixel. Received: maps of shape {maps.shape} for "
            f"images of shape {pixels.shape[:3]}."
        )
    share = strength * np.clip(maps, 0.0, 1.0)[..., np.newaxis]
    return np.round((1.0 - share) * pixels + share * np.array(_HEAT)).astype(np.uint8)


def png_bytes(array: np.ndarray) -> bytes:
    """Encode a picture `(H, W, 3)`, `(H, W, 1)` or `(H, W)` uint8 as PNG bytes."""
    array = np.asarray(array)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise InputError(
            "`array` must be a uint8 picture of shape (height, width, channels). Received: shape "
            f"{array.shape} and type {array.dtype}. Pass the result of grid()."
        )
    encoded = tf.io.encode_png(array[..., np.newaxis] if array.ndim == 2 else array)
    return bytes(encoded.numpy())


def data_uri(array: np.ndarray) -> str:
    """Encode a picture as a `data:` URI for a self-contained page."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(array)).decode("ascii")
