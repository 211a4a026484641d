"""Images to measure ranges on for quantization, and to check every exported file with."""

from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import FeatureRange, Range, nearest_allowed

# More images do not change the quantization ranges of a small classifier.
NUM_CALIBRATION_IMAGES = 500
_MAX_LOADED = 2_000


def load_calibration(
    calibration: Any, shape: tuple[int, ...], input_range: Range | None
) -> tuple[np.ndarray, np.ndarray | None, Range]:
    """Return images, their labels if known, and the range to draw noise from."""
    labels = None
    if calibration is None:
        images = np.zeros((0, *shape), np.float32)
        found = (0.0, 1.0)
    elif hasattr(calibration, "arrays"):
        arrays = calibration.arrays(_MAX_LOADED)
        images, labels = np.asarray(arrays["image"], np.float32), arrays.get("label")
        found = calibration.input_range
    else:
        images = np.asarray(calibration, np.float32)
        found = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
    if images.shape[1:] != shape or not np.isfinite(images).all():
        raise InputError(
            f"`calibration` must contain finite images of shape (N, {', '.join(map(str, shape))}). "
            f"Received: images of shape {images.shape}. Pass images that were made for this model."
        )
    chosen = found if input_range is None else input_range
    if isinstance(chosen, FeatureRange):
        return images, labels, chosen
    low, high = chosen
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InputError(
            f"`input_range` must be finite, with low < high. Received: input_range=({low}, {high})."
        )
    return images, labels, (float(low), float(high))


def balanced(labels: np.ndarray | None, available: int, wanted: int) -> np.ndarray:
    """Return indices of `wanted` images, equally many per class, or evenly spaced if unlabeled."""
    if available <= wanted:
        return np.arange(available)
    if labels is None:
        return np.linspace(0, available - 1, wanted).round().astype(int)
    labels = np.asarray(labels)
    turn = np.zeros(available, int)  # For each image, the number of earlier images of its class.
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    return np.sort(np.lexsort((labels, turn))[:wanted])


def filled_up(
    images: np.ndarray, wanted: int, shape: tuple[int, ...], input_range: Range
) -> np.ndarray:
    """Return the images, followed by uniform noise if there are fewer than `wanted`."""
    num_noise = max(0, wanted - len(images))
    noise = np.random.default_rng(0).uniform(*input_range, (num_noise, *shape))
    noise = np.asarray(nearest_allowed(noise, input_range))
    return np.concatenate([images, noise.astype(np.float32)])
