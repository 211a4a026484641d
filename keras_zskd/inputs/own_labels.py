"""`read_labels`: the labels of the user's own data, in any of their forms."""

from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError


def read_labels(labels: Any, images_shape: tuple[int, ...]) -> np.ndarray:
    """Return labels as classes, int64 `(N,)`, or as sets of labels `(N, K)` of zeros and ones.

    Args:
        labels: Integers `(N,)` or `(N, 1)`, one-hot rows, or sets of labels; also as floats.
        images_shape: Shape `(N, ...)` of the images.

    Raises:
        InputError: If there are no images, or it is not one label or set of labels per image.
    """
    labels = as_array(labels, "labels")
    _check_are_integers(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # As in the files of `keras.datasets`.
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.size and _are_one_hot(labels):
        labels = labels.argmax(axis=1)
    are_labels = labels.ndim == 1 or (labels.ndim == 2 and np.isin(labels, (0, 1)).all())
    if not are_labels or len(images_shape) < 2 or len(labels) != images_shape[0] or not len(labels):
        raise InputError(
            "`dataset` must have one label per image, or zeros and ones for each of several labels, "
            "and one image at least. Received: images of "
            f"shape {images_shape} and labels of shape {labels.shape}."
        )
    return labels.astype(np.int64)


def as_array(values: Any, what: str) -> np.ndarray:
    """Return values as an array.

    Raises:
        InputError: If their shapes differ.
    """
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"`dataset` must have {what} that all have the same shape. Received: {what} that NumPy "
            f"cannot convert to an array ({str(error).splitlines()[0].rstrip('.')})."
        ) from error


def _are_one_hot(labels: np.ndarray) -> bool:
    return bool((np.sort(labels, axis=1) == np.eye(labels.shape[1])[-1]).all())


def _check_are_integers(labels: np.ndarray) -> None:
    """Floats are accepted if each of them is an integer: casting others would change the class."""
    if labels.dtype.kind in "uib":
        return
    if labels.dtype.kind == "f":
        wrong = labels[~(np.isfinite(labels) & (labels == np.floor(labels)))]
    else:
        wrong = labels.reshape(-1)
    if len(wrong) or labels.dtype.kind != "f":
        received = f"the label {wrong[0]!s} of" if len(wrong) else "labels of"
        raise InputError(
            "`dataset` must have integers as labels, the indices of the classes. Received: "
            f"{received} type {labels.dtype}. Number the classes from 0."
        )
