"""Calibration of classifiers: expected calibration error, likelihood, Brier score.

Computed in float64 on NumPy arrays. A student trained at a high temperature tends to be
underconfident, which accuracy alone does not show.
"""

from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError, invalid


def expected_calibration_error(probabilities: Any, labels: Any, num_bins: int = 15) -> float:
    """Mean difference between confidence and accuracy, over bins of equal width.

    `sum_b |B_b| / N * |accuracy(B_b) - confidence(B_b)|`, where bin `b` contains the images whose
    highest probability is in `(b / num_bins, (b + 1) / num_bins]`.

    Args:
        probabilities: `(N, K)`, rows sum to 1.
        labels: `(N,)` integers in `[0, K)`.
        num_bins: Number of bins, positive. Defaults to 15.

    Returns:
        A value in [0, 1]; 0 is perfectly calibrated.

    Example:
        Both predictions have confidence 0.75, and one of them is correct:

        >>> expected_calibration_error([[0.75, 0.25], [0.75, 0.25]], [0, 1])
        0.25

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    if num_bins < 1:
        raise invalid("num_bins", "be positive", num_bins)
    probabilities, labels = _checked(probabilities, labels)
    confidence = probabilities.max(axis=1)
    is_right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    # |B_b| cancels between the weight of a bin and its two means, so sums are enough.
    gaps = np.bincount(bins, weights=is_right - confidence, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(labels))


def negative_log_likelihood(logits: Any, labels: Any) -> float:
    """Mean of `-log softmax(logits)[label]`, in nats.

    Args:
        logits: `(N, K)`.
        labels: `(N,)` integers in `[0, K)`.

    Returns:
        A value of 0 or more; `log K` for uniform predictions.

    Example:
        >>> round(negative_log_likelihood([[0.0, 0.0]], [1]), 6)
        0.693147
    """
    from scipy.special import log_softmax

    logits, labels = _checked(logits, labels)
    return float(-log_softmax(logits, axis=-1)[np.arange(len(labels)), labels].mean())


def brier_score(probabilities: Any, labels: Any) -> float:
    """Mean squared distance between the probabilities and the one-hot label.

    `mean_n sum_k (p_nk - 1[k = label_n])^2`, summed over the classes as in Brier (1950).

    Args:
        probabilities: `(N, K)`, rows sum to 1.
        labels: `(N,)` integers in `[0, K)`.

    Returns:
        A value in [0, 2]; 0 if all predictions are correct with confidence 1, 2 if all are wrong
        with confidence 1.

    Example:
        >>> brier_score([[0.5, 0.5]], [0])
        0.5
    """
    probabilities, labels = _checked(probabilities, labels)
    errors = probabilities.copy()
    errors[np.arange(len(labels)), labels] -= 1.0
    return float(np.square(errors).sum(axis=1).mean())


def _checked(scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels):
        raise InputError(
            "Scores must have shape (images, classes) and `labels` shape (images,), with at least "
            f"one image. Received: shapes {scores.shape} and {labels.shape}."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"`labels` must be integers, the class indices. Received: type {labels.dtype}."
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise InputError(
            f"`labels` must be from 0 to {scores.shape[1] - 1} for {scores.shape[1]} classes. "
            f"Received: labels from {labels.min()} to {labels.max()}. Use the teacher's dataset."
        )
    return scores, labels
