"""Batches of arrays: order, structure, and an end without a wait."""

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.batches import batches


def test_every_example_comes_once_an_epoch_in_another_order():
    data = batches((np.arange(10), 2 * np.arange(10)), 4, seed=0)
    epochs = [list(data.as_numpy_iterator()) for _ in range(2)]
    orders = [np.concatenate([x for x, _ in epoch]) for epoch in epochs]
    assert [len(x) for x, _ in epochs[0]] == [4, 4, 2]
    assert not np.array_equal(*orders)
    for epoch, order in zip(epochs, orders, strict=True):
        assert sorted(order) == list(range(10))
        np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), 2 * order)


def test_the_seed_says_the_order():
    first, again, other = (
        [batch.tolist() for batch in batches(np.arange(20), 5, seed).as_numpy_iterator()]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_without_a_seed_the_order_stays_and_a_transform_sees_each_batch():
    data = batches({"x": np.arange(5.0)}, 2, transform=lambda batch: {"x": batch["x"] + 1})
    assert [batch["x"].tolist() for batch in data.as_numpy_iterator()] == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("count", [8, 3])
def test_an_iterator_has_no_thread_that_tunes_it(count):
    # Such a thread can sleep through the end of its iterator: a second for every epoch.
    assert batches(np.arange(count), 4, seed=0).options().autotune.enabled is False


def test_the_element_spec_has_the_types_of_the_arrays():
    data = batches({"image": np.zeros((3, 2, 2, 1), np.float32), "label": np.zeros(3, np.int64)}, 2)
    assert data.element_spec == {
        "image": tf.TensorSpec((None, 2, 2, 1), tf.float32),
        "label": tf.TensorSpec((None,), tf.int64),
    }
