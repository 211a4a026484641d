"""`ProceduralPictures`: keys, range and the properties of the families."""

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import read_range
from keras_zskd.inputs.procedural.draws import Draws, numbers_of
from keras_zskd.inputs.procedural.fields import bands, coverage, enlarge, field, rounded
from keras_zskd.inputs.procedural.images import things
from keras_zskd.inputs.procedural_pictures import ProceduralPictures, families_of

SHAPES = [(16, 16, 3), (12, 20, 1), (9, 9, 5), (40, 2), (7,), (4, 4, 4, 2)]
CASES = [(shape, name) for shape in SHAPES for name in families_of(shape)]


@pytest.mark.parametrize(("shape", "name"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_each_family_is_keyed_in_range_and_not_constant(shape, name):
    pictures = ProceduralPictures(shape, (-1.0, 3.0), {name: 2.0})
    made = pictures.keyed(seed=4, indices=[0, 1, 2, 7])
    assert made.shape == (4, *shape)
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert made.min() >= 0.0
    assert made.max() <= 1.0
    # Depends only on its index: equal when generated alone, up to the order of sums.
    np.testing.assert_allclose(pictures.keyed(4, [7])[0], made[3], atol=1e-5)
    assert np.abs(pictures.keyed(5, [7])[0] - made[3]).max() > 0.01
    assert np.abs(made[0] - made[1]).max() > 0.01


def test_a_stream_is_a_function_of_seed_and_step():
    pictures = ProceduralPictures((8, 8, 3), (0, 255), {"blobs": 1, "noise": 2})
    first = list(pictures.stream(8, seed=3).take(4).as_numpy_iterator())
    (later,) = pictures.stream(8, seed=3, first_step=3).take(1).as_numpy_iterator()
    np.testing.assert_array_equal(later, first[3])
    assert np.abs(first[0] - first[1]).max() > 1
    (other,) = pictures.stream(8, seed=4).take(1).as_numpy_iterator()
    assert np.abs(other - first[0]).max() > 1
    assert first[0].shape == (8, 8, 8, 3)
    assert first[0].max() <= 255
    assert first[0].max() > 10
    assert pictures.steps(8) is None
    np.testing.assert_array_equal(pictures.images(5).shape, (5, 8, 8, 3))


def test_shares_of_the_families():
    pictures = ProceduralPictures((1,), shares={"uniform": 3, "heavy": 1})
    assert pictures.shares == {"uniform": 0.75, "heavy": 0.25}
    values = pictures.keyed(0, range(6400))[:, 0]
    # 0.12 z |z|: half of the values are within 0.12 * 0.6745^2 of the middle; of the uniform
    # numbers, twice that distance.
    near = np.abs(values - 0.5) < 0.12 * 0.6745**2
    assert near.mean() == pytest.approx(0.75 * 2 * 0.12 * 0.6745**2 + 0.25 * 0.5, abs=0.02)


@pytest.mark.parametrize(
    "shares", [{}, {"leafs": 1.0}, {"leaves": 0.0}, {"leaves": -1.0, "noise": 2.0}]
)
def test_invalid_shares_raise(shares):
    with pytest.raises(InputError, match="`shares` must be positive numbers for some of leaves"):
        ProceduralPictures((8, 8, 3), shares=shares)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_the_amplitude_of_a_field_falls_as_a_power_of_the_frequency(exponent):
    def fields(draws, shape):
        return field(draws, *shape, exponent)

    _, count = numbers_of(fields, (64, 64))
    normal = np.random.default_rng(0).normal(size=(200, count)).astype("float32")
    made = np.asarray(fields(Draws(None, normal), (64, 64)))
    np.testing.assert_allclose(made.mean((1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(made.std((1, 2)), 1.0, atol=1e-3)
    power = np.mean(np.abs(np.fft.fft2(made)) ** 2, axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    band = (frequency > 0.03) & (frequency < 0.3)
    slope = np.polyfit(np.log(frequency[band]), 0.5 * np.log(power[band]), 1)[0]
    # Octaves overlap, so the slope is only approximate.
    assert slope == pytest.approx(-exponent, abs=0.25)


def test_colors_are_luminance_and_opponents():
    one, zero = tf.ones((1, 1, 1)), tf.zeros((1, 1, 1))
    np.testing.assert_allclose(bands(one, zero, zero, 3)[0, 0, 0], [1, 1, 1])
    np.testing.assert_allclose(bands(zero, one, zero, 3)[0, 0, 0], [0.6, 0.3, -1.0])
    np.testing.assert_allclose(bands(zero, zero, one, 3)[0, 0, 0], [1, -1, 0])
    np.testing.assert_allclose(bands(one, one, one, 1)[0, 0, 0], [1])
    # Any other number of channels: cosines, orthogonal to the luminance.
    np.testing.assert_allclose(bands(zero, one, zero, 5)[0, 0, 0].numpy().sum(), 0, atol=1e-6)


def test_shapes_have_the_areas_of_diamond_circle_and_square():
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, 801, dtype="float32")], indexing="ij")
    for roundness, area in ((-1.0, 2.0), (0.0, np.pi), (1.0, 4.0)):
        inside = coverage(rounded(y / 0.5, x / 0.5, roundness), 0.5, 801)
        assert 4 * float(tf.reduce_mean(inside)) == pytest.approx(0.25 * area, rel=0.01)


def test_enlarging_keeps_constants_and_straight_lines():
    matrix = enlarge(8, 32)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-6)
    line = matrix @ np.arange(8.0)
    np.testing.assert_allclose(np.diff(line)[8:-8], 0.25, atol=1e-6)


def test_things_have_a_dark_or_light_background():
    made = ProceduralPictures((16, 16, 1), shares={"things": 1}).keyed(0, range(200))
    corners = made[:, 0, 0, 0]
    plain = (corners < 0.11) | (corners > 0.89)
    assert plain.mean() > 0.8
    assert 0.3 < (corners < 0.5).mean() < 0.7
    assert things.__doc__


def test_categories_of_table_rows_are_allowed_values():
    columns = [[-2, 2], {"values": [0, 1]}, {"values": [1, 2, 4]}]
    rows = ProceduralPictures((3,), read_range(columns, (3,))).images(200)
    assert -2 <= rows[:, 0].min() < rows[:, 0].max() <= 2
    assert len(np.unique(rows[:, 0])) > 100
    assert set(np.unique(rows[:, 1])) == {0, 1}
    assert set(np.unique(rows[:, 2])) == {1, 2, 4}
