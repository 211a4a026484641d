"""Mean average precision of a multi-label classifier."""

from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError


def mean_average_precision(scores: Any, labels: Any) -> float:
    """Mean over the labels of the average precision `sum_n (R_n - R_(n-1)) P_n`.

    `P_n` and `R_n` are the precision and recall of the images whose score is at least the n-th
    largest distinct score. Labels that are absent from all images are left out.

    Args:
        scores: `(N, K)`, higher for a label that is more likely present.
        labels: `(N, K)` of zeros and ones.

    Returns:
        A value in [0, 1].

    Raises:
        InputError: If no image has a label.

    Example:
        >>> mean_average_precision([[0.9], [0.8], [0.1]], [[1], [0], [1]])
        0.8333333333333333
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    present = np.flatnonzero(labels.any(axis=0))
    if not len(present):
        raise InputError(
            "`labels` must have at least one label that is present. Received: zeros only."
        )
    return float(np.mean([_average_precision(scores[:, k], labels[:, k]) for k in present]))


def _average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked, is_present = scores[order], labels[order]
    # Images with equal scores are retrieved together.
    ends = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    found = np.cumsum(is_present)[ends]
    precision, recall = found / (ends + 1.0), found / found[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
