import pytest

from keras_zskd.models.slimming.channels import (
    fixed,
    free,
    is_fixed,
    narrowed,
    pin,
    product,
    quotient,
    regroup,
    require_multiple,
    tie,
    total,
)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [(6, 0.5, 3), (5, 0.5, 3), (3, 0.5, 2), (1, 0.1, 1), (16, 0.01, 1), (84, 1.0, 84), (9, 0.3, 3)],
)
def test_free_axes_are_rounded_half_up_and_at_least_1(size, width, expected):
    assert narrowed(free(size), width) == expected


def test_compositions_depend_on_their_parts():
    a, b = free(10), free(6)
    assert narrowed(total([a, b, fixed(3)]), 0.5) == 5 + 3 + 3
    assert narrowed(product([fixed(5), fixed(5), a]), 0.5) == 125
    assert narrowed(quotient(a, 2), 0.5) == 3  # Half of 10 is 5; the nearest even number is 6.
    assert narrowed(a, 0.5) == 6


def test_multiples_are_kept():
    groups = free(96)
    require_multiple(groups, 32)
    assert [narrowed(groups, width) for width in (0.1, 0.5, 0.6, 1.0)] == [32, 64, 64, 96]
    require_multiple(groups, 6)
    assert narrowed(groups, 0.5) == 96


def test_an_axis_tied_to_a_fixed_axis_is_fixed_with_all_its_parts():
    a, b, c = free(10), free(6), free(10)
    tie(a, c)
    tie(total([a, b]), fixed(16))
    assert [narrowed(axis, 0.5) for axis in (a, b, c)] == [10, 6, 10]


def test_a_tied_axis_has_the_length_of_the_composition():
    a, b, whole = free(3), free(3), free(6)
    tie(whole, total([a, b]))
    assert narrowed(whole, 0.5) == 4  # 2 + 2, not 3.
    pin(whole)
    assert narrowed(a, 0.5) == 3


def test_incompatible_compositions_keep_their_length():
    a, b, c, d = free(3), free(9), free(6), free(6)
    tie(total([a, b]), total([c, d]))
    assert all(is_fixed(axis) for axis in (a, b, c, d))


def test_compatible_compositions_are_tied_part_by_part():
    a, b = free(6), fixed(6)
    tie(total([a, free(2)]), total([b, free(2)]))
    assert is_fixed(a)


def test_axes_of_different_lengths_are_not_tied():
    a = free(6)
    tie(a, fixed(1))
    assert not is_fixed(a)


def _sizes(axes, width):
    return [narrowed(axis, width) for axis in axes]


def test_reshape_merges_splits_and_keeps_axes():
    batch, c = fixed(None), free(12)
    merged = regroup([batch, fixed(4), fixed(4), c], [None, 192])
    assert _sizes(merged, 0.5) == [None, 96]
    same = regroup([batch, c], [None, 1, 1, 12])
    assert _sizes(same, 0.5) == [None, 1, 1, 6]
    split = regroup([batch, fixed(4), c], [None, 4, 3, 4])
    assert _sizes(split, 0.5) == [None, 4, 3, 2]
    assert narrowed(c, 0.5) == 6


def test_reshape_that_mixes_channels_and_pixels_fixes_both():
    c = free(12)
    mixed = regroup([fixed(None), fixed(4), c], [None, 6, 8])
    assert _sizes(mixed, 0.5) == [None, 6, 8]
    assert is_fixed(c)


def test_reshape_into_the_batch_keeps_the_last_axes():
    c = free(12)
    assert _sizes(regroup([fixed(None), fixed(4), c], [None, 12]), 0.5) == [None, 6]
    assert not is_fixed(c)
    assert _sizes(regroup([fixed(None), fixed(4), c], [None]), 0.5) == [None]
    assert is_fixed(c)
