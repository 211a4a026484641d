import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.errors import InputError
from keras_zskd.impressions import randomness
from keras_zskd.impressions.transforms import Jitter


def _shift_of(pixels, moved):
    """The only roll that takes `pixels` to `moved`."""
    found = [
        (y, x)
        for y in range(-4, 4)
        for x in range(-4, 4)
        if np.array_equal(np.roll(pixels, (y, x), (1, 2)), moved)
    ]
    assert len(found) == 1
    return found[0]


class TestJitter:
    def test_rolls_the_whole_batch_by_one_shift_and_reaches_every_one(self, make_images):
        pixels = make_images(3)
        shifts = [
            _shift_of(pixels, Jitter(1).apply(tf.constant(pixels), randomness.key(0, 1, i)).numpy())
            for i in range(120)
        ]
        assert set(shifts) == {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}

    def test_stays_within_its_bound(self, make_images):
        pixels = make_images(1)
        shifts = {
            _shift_of(pixels, Jitter(2).apply(tf.constant(pixels), randomness.key(0, i)).numpy())
            for i in range(60)
        }
        assert max(max(abs(y), abs(x)) for y, x in shifts) == 2

    def test_zero_moves_nothing(self, make_images):
        pixels = make_images(2)
        moved = Jitter(0).apply(tf.constant(pixels), randomness.key(0))
        np.testing.assert_array_equal(moved, pixels)

    def test_the_same_key_moves_the_same_way(self, make_images):
        pixels = tf.constant(make_images(2))
        a, b = (Jitter(3).apply(pixels, randomness.key(5)) for _ in range(2))
        np.testing.assert_array_equal(a, b)

    def test_the_gradient_comes_back_to_the_pixel_it_belongs_to(self, make_images):
        pixels = tf.constant(make_images(1))
        key = randomness.key(0, 3)
        y, x = _shift_of(pixels.numpy(), Jitter(2).apply(pixels, key).numpy())
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            corner = Jitter(2).apply(pixels, key)[0, 0, 0, 0]
        gradient = tape.gradient(corner, pixels).numpy()
        expected = np.zeros((1, 8, 8, 1))
        expected[0, -y % 8, -x % 8] = 1
        np.testing.assert_array_equal(gradient, expected)

    def test_leaves_what_is_no_image(self):
        values = tf.constant([[1.0, 2.0, 3.0]])
        np.testing.assert_array_equal(Jitter(2).apply(values, randomness.key(0)), values)

    def test_negative_is_refused(self):
        with pytest.raises(InputError, match=r"pixels=-1 was received; expected 0 or more"):
            Jitter(-1)

    def test_round_trip(self):
        config = keras.saving.serialize_keras_object(Jitter(3))
        assert config["registered_name"] == "keras_zskd>Jitter"
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is Jitter
        assert again.pixels == 3
