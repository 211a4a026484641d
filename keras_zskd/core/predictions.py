"""Logits as predictions: of one class among K, or of K labels that are each present or absent."""

from typing import Any

import numpy as np
import tensorflow as tf


def as_choices(logits: Any, is_multi_label: bool) -> Any:
    """Return logits whose softmax over the last axis is a prediction.

    A single-label classifier chooses one of K classes. A multi-label classifier makes K choices, each
    between absent and present: its logits `z` become `(-z / 2, z / 2)`, whose softmax is
    `(1 - sigmoid(z), sigmoid(z))`.

    Args:
        logits: `(N, K)`.
        is_multi_label: Whether they are of a multi-label classifier.

    Returns:
        `logits` unchanged, or `(N, K, 2)`.
    """
    return tf.stack([-0.5 * logits, 0.5 * logits], axis=-1) if is_multi_label else logits


def choice_targets(targets: Any, is_multi_label: bool) -> Any:
    """Return probabilities `(N, K)` in the form of `as_choices`."""
    return tf.stack([1.0 - targets, targets], axis=-1) if is_multi_label else targets


def probabilities(logits: Any, is_multi_label: bool, temperature: float = 1.0) -> np.ndarray:
    """Return the probability of each class or label, `(N, K)` float64.

    Args:
        logits: `(N, K)`.
        is_multi_label: Whether they are of a multi-label classifier.
        temperature: `tau`, positive.
    """
    from scipy.special import expit, softmax

    softened = np.asarray(logits, np.float64) / temperature
    return np.asarray(expit(softened) if is_multi_label else softmax(softened, axis=-1))


def decided(logits: Any, is_multi_label: bool) -> np.ndarray:
    """Return the predicted classes `(N,)`, or which labels are predicted, `(N, K)` booleans."""
    logits = np.asarray(logits)
    return np.asarray(logits > 0 if is_multi_label else logits.argmax(axis=-1))


def over_choices(values: Any) -> Any:
    """Sum values per choice, `(N,)` or `(N, K)`, to one value per example, `(N,)`."""
    return tf.reduce_sum(values, axis=list(range(1, len(values.shape))))


def as_label_sets(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels as sets `(N, K)` of zeros and ones; a class index is a set of one label."""
    return labels if labels.ndim == 2 else np.eye(num_classes, dtype=np.int64)[labels]
