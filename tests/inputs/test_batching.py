"""Batches of arrays: order, structure and a fast end of iteration."""

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.inputs.batching import batches, steps_of, stream


def test_every_example_is_used_once_per_epoch_in_a_new_order():
    data = batches((np.arange(10), 2 * np.arange(10)), 4, seed=0)
    epochs = [list(data.as_numpy_iterator()) for _ in range(2)]
    orders = [np.concatenate([x for x, _ in epoch]) for epoch in epochs]
    assert [len(x) for x, _ in epochs[0]] == [4, 4, 2]
    assert not np.array_equal(*orders)
    for epoch, order in zip(epochs, orders, strict=True):
        assert sorted(order) == list(range(10))
        np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), 2 * order)


def test_the_seed_determines_the_order():
    first, again, other = (
        [batch.tolist() for batch in batches(np.arange(20), 5, seed).as_numpy_iterator()]
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_without_a_seed_the_order_is_kept():
    data = batches({"x": np.arange(5)}, 2)
    assert [batch["x"].tolist() for batch in data.as_numpy_iterator()] == [[0, 1], [2, 3], [4]]


def taken(data, count):
    return [batch.tolist() for batch in data.take(count).as_numpy_iterator()]


class TestStream:
    def test_a_new_permutation_per_epoch_in_full_batches(self):
        found = taken(stream(np.arange(10), 4, seed=0), 5)
        assert [len(batch) for batch in found] == [4] * 5
        order = np.concatenate(found)
        assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
        assert order[:10].tolist() != order[10:].tolist()

    @pytest.mark.parametrize("first", [1, 3, 17])
    def test_starts_at_any_step(self, first):
        whole = taken(stream(np.arange(10), 4, seed=3), first + 4)
        assert taken(stream(np.arange(10), 4, seed=3, first_step=first), 4) == whole[first:]

    def test_the_seed_determines_the_order_of_a_stream(self):
        first, again, other = (taken(stream(np.arange(20), 5, seed), 4) for seed in (1, 1, 2))
        assert first == again != other

    def test_few_examples_make_one_batch(self):
        data = stream({"x": np.arange(3)}, 256, seed=0)
        assert all(sorted(batch["x"]) == [0, 1, 2] for batch in data.take(4).as_numpy_iterator())

    def test_a_transform_gets_the_step(self):
        data = stream(np.arange(4), 2, 0, first_step=5, transform=lambda step, x: (step, 0 * x))
        assert [int(step) for step, _ in data.take(3).as_numpy_iterator()] == [5, 6, 7]

    def test_no_autotuning_of_a_stream(self):
        assert stream(np.arange(4), 2, seed=0).options().autotune.enabled is False


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"),
    [
        (36_000, 256, 144),  # 141 would allow calls of 3 steps.
        (35_000, 256, 136),
        (2_048, 32, 64),
        (1_000, 256, 4),
        (2_800, 256, 11),  # Short epochs keep their length.
        (36, 256, 1),
    ],
)
def test_steps_of(count, batch_size, expected):
    assert steps_of(count, batch_size) == expected


@pytest.mark.parametrize("count", [8, 3])
def test_no_autotuning(count):
    # A tuning thread may miss the end of its iterator, which costs a second per epoch.
    assert batches(np.arange(count), 4, seed=0).options().autotune.enabled is False


def test_the_element_spec_has_the_types_of_the_arrays():
    data = batches({"image": np.zeros((3, 2, 2, 1), np.float32), "label": np.zeros(3, np.int64)}, 2)
    assert data.element_spec == {
        "image": tf.TensorSpec((None, 2, 2, 1), tf.float32),
        "label": tf.TensorSpec((None,), tf.int64),
    }
