import itertools

import numpy as np
import pytest

from keras_zskd.models.slimming.clusters import k_means


def _error(points, weights, labels):
    total = 0.0
    for label in set(labels):
        own = [i for i, other in enumerate(labels) if other == label]
        center = np.average(points[own], axis=0, weights=weights[own])
        total += float(weights[own] @ ((points[own] - center) ** 2).sum(1))
    return total


@pytest.mark.parametrize("dimensions", [2, 20])
def test_finds_the_best_of_all_partitions(dimensions):
    rng = np.random.default_rng(3)
    middles = rng.normal(size=(3, dimensions))[[0, 1, 2, 0, 1, 2, 0, 1]]
    points, weights = middles + 0.5 * rng.normal(size=middles.shape), rng.uniform(0.1, 3, 8)
    every = [p for p in itertools.product(range(3), repeat=8) if set(p) == {0, 1, 2} and p[0] == 0]
    least = min(_error(points, weights, partition) for partition in every)
    labels = k_means(points, weights, 3)
    assert _error(points, weights, labels.tolist()) == pytest.approx(least)
    np.testing.assert_array_equal(labels, k_means(points, weights, 3))


def test_no_empty_clusters_and_labels_in_order_of_occurrence():
    same = np.ones((6, 2))
    assert sorted(set(k_means(same, np.ones(6), 4).tolist())) == [0, 1, 2, 3]
    points = np.array([[5.0], [0.0], [5.1], [0.1], [9.0]])
    assert k_means(points, np.ones(5), 3).tolist() == [0, 1, 0, 1, 2]
    assert k_means(points, np.ones(5), 5).tolist() == [0, 1, 2, 3, 4]


def test_weights_matter():
    # The pair with small weights is joined.
    points = np.array([[0.0], [1.0], [2.2]])
    assert k_means(points, np.array([9.0, 9.0, 0.01]), 2).tolist() == [0, 1, 1]
    assert k_means(points, np.ones(3), 2).tolist() == [0, 0, 1]
