"""Class templates: the columns of the last kernel of a classifier."""

import numpy as np


def class_similarity(templates: np.ndarray) -> np.ndarray:
    """Cosine similarity of the class templates.

    `C(i, j) = w_i . w_j / (|w_i| |w_j|)` (paper, equation 2; the bias is not used). The cosine of a
    zero template, such as that of a pruned class, is undefined. Such a class gets similarity 1 to
    itself and 0 to all others, as if its template were orthogonal to theirs.

    Args:
        templates: `(D, K)`, one template per column.

    Returns:
        `(K, K)` in [-1, 1], with ones on the diagonal.
    """
    templates = np.asarray(templates, np.float64)
    lengths = np.linalg.norm(templates, axis=0, keepdims=True)
    unit = templates / np.where(lengths > 0, lengths, 1.0)
    similarity = unit.T @ unit
    np.fill_diagonal(similarity, 1.0)
    return np.asarray(similarity)
