"""Input ranges: two numbers, or a range or allowed values per feature."""

import copy
import json
import pickle

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import (
    FeatureRange,
    as_json,
    comparable,
    fewest_steps,
    from_unit,
    nearest_allowed,
    range_text,
    read_range,
    to_unit,
)

ENTRIES = [[-2, 2], {"values": [1, 0]}, {"values": [0, 1, 5]}]


@pytest.mark.parametrize("given", [(0, 255), [0, 255]])
def test_two_numbers_stay_two_numbers(given):
    found = read_range(given, (3,))
    assert found == (0.0, 255.0)
    assert not isinstance(found, FeatureRange)
    assert as_json(found) == [0.0, 255.0]


def test_two_arrays_are_broadcast_to_the_input_shape():
    low, high = read_range((np.zeros(2), [10.0, 20.0]), (3, 2))
    np.testing.assert_array_equal(low, np.zeros((3, 2)))
    np.testing.assert_array_equal(high, [[10.0, 20.0]] * 3)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
@pytest.mark.parametrize("values", [None, {1: (0.0, 1.0)}])
def test_a_range_per_feature_can_be_copied_and_pickled(copied, values):
    given = FeatureRange([-1, 0], [1, 1], values)
    found = copied(given)
    assert isinstance(found, FeatureRange)
    assert found == given
    assert found.values == given.values
    np.testing.assert_array_equal(found[0], given[0])


def test_a_list_and_its_file_have_one_entry_per_feature(tmp_path):
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps(ENTRIES), encoding="utf-8")
    found = read_range(str(path), (3,))
    assert found == read_range(ENTRIES, (3,))
    np.testing.assert_array_equal(found[0], [-2.0, 0.0, 0.0])
    np.testing.assert_array_equal(found[1], [2.0, 1.0, 5.0])
    assert found.values == {1: (0.0, 1.0), 2: (0.0, 1.0, 5.0)}
    assert found != read_range([[-2, 2], [0, 1], [0, 5]], (3,))


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (ENTRIES, (3,)),
        (ENTRIES, (4, 3)),
        ([[0, 1], [0, 5]], (2,)),
        ((np.arange(6).reshape(3, 2), np.full((3, 2), 9)), (3, 2)),
    ],
)
def test_json_gives_the_same_range(given, shape):
    found = read_range(given, shape)
    again = read_range(json.loads(json.dumps(as_json(found))), shape)
    assert again == found
    assert hash(again) == hash(found)


def test_values_are_scaled_and_categories_are_allowed_values():
    found = read_range(ENTRIES, (3,))
    unit = np.array([[0.5, 0.49, 0.09], [0.25, 0.51, 0.11], [1.0, 1.0, 0.61]], np.float32)
    # The third feature: 0.45, 0.55 and 3.05 of 0 to 5.
    expected = [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [2.0, 1.0, 5.0]]
    np.testing.assert_array_equal(from_unit(unit, found), expected)
    np.testing.assert_allclose(to_unit(np.array(expected), found)[1], [0.25, 1.0, 0.2])
    np.testing.assert_array_equal(comparable(expected, found)[0][2], [1.0, 1.0, 1.0])


def test_the_gradient_passes_the_choice_of_a_value():
    found = read_range(ENTRIES, (3,))
    unit = tf.constant([[0.2, 0.3, 0.4]])
    with tf.GradientTape() as tape:
        tape.watch(unit)
        values = from_unit(unit, found)
    np.testing.assert_array_equal(tape.gradient(values, unit), [[4.0, 1.0, 5.0]])


def test_without_categories_nothing_is_replaced():
    images = np.ones((1, 2))
    for given in ((0.0, 1.0), ([0.0, 0.0], [1.0, 2.0])):
        assert nearest_allowed(images, read_range(given, (2,))) is images


def test_the_steps_of_an_int8_input_are_counted():
    assert fewest_steps((0.0, 1.0)) == 255
    assert fewest_steps(read_range([[0, 10], [5, 6], [0, 2]], (3,))) == pytest.approx(25.5)


def test_ranges_are_described():
    assert range_text([0.0, 255.0]) == "values from 0 to 255"
    assert range_text(None) == "values from 0 to 1"
    assert "each feature" in range_text(as_json(read_range([[0, 1], [0, 5]], (2,))))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("missing.json", "No such file"),
        ([[0, 1], [0, 1]], "2 entries"),
        ([[0, 1], [0, 1], {"values": [1]}], "entry 2"),
        ([[0, 1], [0, 1], {"other": [1, 2]}], "for each of the 3 features"),
        ([[0, 1], [0, 1], [1, 1]], "low < high"),
        ((0, 1, 2), "two numbers"),
        ((1, 0), "low < high"),
        ((0, float("nan")), "finite"),
        ((np.zeros(2), np.ones(2)), "two arrays"),
        ("ab", "two numbers"),
    ],
)
def test_other_ranges_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        read_range(given, (3,))
