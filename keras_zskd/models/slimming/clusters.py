"""Weighted k-means that gives the same clusters every time, and never an empty one."""

import numpy as np

_STARTS = 10
_ROUNDS = 20


def k_means(points: np.ndarray, weights: np.ndarray, num_clusters: int) -> np.ndarray:
    """The cluster of each point, by the best of several starts of weighted k-means.

    Minimizes `sum_i weights[i] * ||points[i] - center(i)||^2`, the centers being weighted means.
    Starts are drawn by k-means++ (Arthur and Vassilvitskii, 2007) from a fixed seed.

    Args:
        points: `(N, D)`.
        weights: `(N,)`, above 0.
        num_clusters: From 1 to `N`.

    Returns:
        `(N,)` whole numbers from 0, in the order in which the clusters first occur.
    """
    if num_clusters == len(points):
        return np.arange(len(points))
    rng = np.random.default_rng(0)
    # Scalar products are all it takes, and there are far fewer of them than weights in a kernel.
    points = points.astype("float64")
    gram, weights = points @ points.T, weights.astype("float64")
    best, least = np.zeros(len(points), int), np.inf
    for _ in range(_STARTS):
        labels = np.full(len(points), -1)
        distances = _spread_out(gram, weights, num_clusters, rng)
        for _ in range(_ROUNDS):
            before, labels = labels, _nearest(distances, weights)
            if np.array_equal(before, labels):
                break
            distances = _to_means(gram, labels, weights)
        error = float(weights @ distances[labels, np.arange(len(labels))])
        # A start must be clearly better: rounding differs from machine to machine.
        if error < least - 1e-9 * float(weights @ np.diag(gram)):
            best, least = labels, error
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])


def _to_means(gram: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`(K, N)`: squared distance of each point from the mean of each cluster."""
    share = weights / np.bincount(labels, weights)[labels]
    order = np.argsort(labels, kind="stable")
    begins = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    products = np.add.reduceat(gram[order] * share[order, None], begins, axis=0)
    squares = np.bincount(labels, share * products[labels, np.arange(len(labels))])
    return np.asarray(np.maximum(np.diag(gram) - 2 * products + squares[:, None], 0))


def _spread_out(
    gram: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """k-means++: each next center a point, drawn by its weight and squared distance.

    Returns:
        `(count, N)`: squared distance of each point from each center.
    """
    squares, chosen = np.diag(gram), np.zeros(count, int)
    distances = np.zeros((count, len(gram)))
    chance, nearest = weights, np.full(len(gram), np.inf)
    for number in range(count):
        if not chance.sum() > 0:  # Every point coincides with a center.
            chance = np.ones(len(gram))
            chance[chosen[:number]] = 0
        chosen[number] = point = rng.choice(len(gram), p=chance / chance.sum())
        distances[number] = np.maximum(squares + squares[point] - 2 * gram[point], 0)
        nearest = np.minimum(nearest, distances[number])
        chance = weights * nearest
    return distances


def _nearest(distances: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The nearest center of each point; an empty cluster takes the farthest point of the others."""
    labels = distances.argmin(0)
    cost = weights * distances.min(0)
    sizes = np.bincount(labels, minlength=len(distances))
    for empty in np.flatnonzero(sizes == 0):
        farthest = int(np.where(sizes[labels] > 1, cost, -1).argmax())
        sizes[labels[farthest]] -= 1
        sizes[empty], labels[farthest], cost[farthest] = 1, empty, 0
    return labels
