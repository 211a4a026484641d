"""Similar channels in clusters: weighted k-means."""

import numpy as np

_STARTS = 10
_ROUNDS = 20


def k_means(points: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """The cluster of each point, 0 to `count - 1`; every cluster has a member.

    Lloyd's algorithm from ten starts by k-means++ (Arthur and Vassilvitskii, 2007); the best by its
    weighted sum of squared distances. The same points give the same clusters.

    Args:
        points: `(N, D)`, `N >= count`.
        weights: `(N,)`, 0 or more.
        count: Clusters.
    """
    points = np.asarray(points, np.float64)
    weights = np.maximum(weights, 1e-12 * max(1e-30, float(np.max(weights))))
    if count == len(points):
        return np.arange(count)
    random = np.random.default_rng(0)
    best, least = np.zeros(len(points), int), np.inf
    for _ in range(_STARTS):
        centers = _spread_out(points, weights, count, random)
        for _ in range(_ROUNDS):
            members = _distances(points, centers).argmin(axis=1)
            members = _without_empty(points, weights, centers, members)
            sums = np.zeros((count, points.shape[1]))
            np.add.at(sums, members, weights[:, None] * points)
            centers = sums / np.bincount(members, weights, count)[:, None]
        cost = float((weights * ((points - centers[members]) ** 2).sum(axis=1)).sum())
        if cost < least:
            best, least = members, cost
    # In the order of their first members, so that a cluster of one each keeps the order of channels.
    _, first = np.unique(best, return_index=True)
    order = np.empty(count, int)
    order[np.argsort(first)] = np.arange(count)
    return order[best]


def _distances(points: np.ndarray, centers: np.ndarray) -> np.ndarray:
    squares = (points**2).sum(axis=1)[:, None] + (centers**2).sum(axis=1)
    return np.asarray(np.maximum(squares - 2 * points @ centers.T, 0.0))


def _spread_out(
    points: np.ndarray, weights: np.ndarray, count: int, random: np.random.Generator
) -> np.ndarray:
    """k-means++: each further center is a point, with a chance by its weighted squared distance."""
    chosen = [int(random.choice(len(points), p=weights / weights.sum()))]
    for _ in range(count - 1):
        chances = weights * _distances(points, points[chosen]).min(axis=1)
        chances[chosen] = 0.0
        if not chances.sum() > 0:  # Only copies of the chosen ones are left.
            chances = np.ones(len(points))
            chances[chosen] = 0.0
        chosen.append(int(random.choice(len(points), p=chances / chances.sum())))
    return points[chosen]


def _without_empty(
    points: np.ndarray, weights: np.ndarray, centers: np.ndarray, members: np.ndarray
) -> np.ndarray:
    """An empty cluster gets the point that is farthest from its center and not alone there."""
    sizes = np.bincount(members, minlength=len(centers))
    for empty in np.flatnonzero(sizes == 0):
        far = weights * ((points - centers[members]) ** 2).sum(axis=1)
        far[sizes[members] == 1] = -1.0
        taken = int(far.argmax())
        sizes[members[taken]] -= 1
        members[taken], sizes[empty] = empty, 1
    return members
