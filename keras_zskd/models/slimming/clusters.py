"""Deterministic weighted k-means without empty clusters."""

import numpy as np

_STARTS = 10
_ROUNDS = 20


def k_means(points: np.ndarray, weights: np.ndarray, num_clusters: int) -> np.ndarray:
    """Cluster points by weighted k-means, with the best of several starts.

    Minimizes `sum_i weights[i] * ||points[i] - center(i)||^2`, where centers are weighted means.
    Starts are drawn by k-means++ (Arthur and Vassilvitskii, 2007) with a fixed seed.

    Args:
        points: `(N, D)`, the points.
        weights: `(N,)`, their weights, above 0.
        num_clusters: Number of clusters, from 1 to `N`.

    Returns:
        Labels `(N,)` from 0, in the order of first occurrence.
    """
    if num_clusters == len(points):
        return np.arange(len(points))
    rng = np.random.default_rng(0)
    # Only scalar products are needed, far fewer numbers than the weights of a kernel.
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
        # A start must be clearly better, since rounding differs between machines.
        if error < least - 1e-9 * float(weights @ np.diag(gram)):
            best, least = labels, error
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[inverse])


def _to_means(gram: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the squared distance `(K, N)` of each point to the mean of each cluster."""
    share = weights / np.bincount(labels, weights)[labels]
    order = np.argsort(labels, kind="stable")
    begins = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    products = np.add.reduceat(gram[order] * share[order, None], begins, axis=0)
    squares = np.bincount(labels, share * products[labels, np.arange(len(labels))])
    return np.asarray(np.maximum(np.diag(gram) - 2 * products + squares[:, None], 0))


def _spread_out(
    gram: np.ndarray, weights: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Choose centers by k-means++: points drawn by weight times squared distance.

    Returns:
        `(count, N)`, the squared distance of each point to each center.
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
    """Find the nearest center of each point; an empty cluster gets the farthest point."""
    labels = distances.argmin(0)
    cost = weights * distances.min(0)
    sizes = np.bincount(labels, minlength=len(distances))
    for empty in np.flatnonzero(sizes == 0):
        farthest = int(np.where(sizes[labels] > 1, cost, -1).argmax())
        sizes[labels[farthest]] -= 1
        sizes[empty], labels[farthest], cost[farthest] = 1, empty, 0
    return labels
