import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.transforms import Jitter, Transform, roll


def _uniforms(shifts, pixels):
    """Uniform numbers in the middle of the intervals that mean `shifts` `(N, 2)`."""
    return tf.constant((np.asarray(shifts) + pixels + 0.5) / (2 * pixels + 1), tf.float32)


def _rolled(images, shifts):
    pairs = zip(images, shifts, strict=True)
    return np.stack([np.roll(image, tuple(shift), (0, 1)) for image, shift in pairs])


class TestRoll:
    @pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3)])
    def test_is_numpys_roll_of_each_image_by_its_own_shift(self, make_images, shape):
        images = make_images(7, shape)
        shifts = np.random.default_rng(0).integers(-9, 10, (7, 2)).astype("int32")
        np.testing.assert_array_equal(roll(images, shifts), _rolled(images, shifts))

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_gradient_is_rolled_back(self, make_images, jit_compile):
        images = tf.constant(make_images(4, (5, 7, 2)))
        shifts = np.array([[0, 0], [1, -2], [-4, 3], [6, 9]], "int32")
        upstream = make_images(4, (5, 7, 2), seed=1)

        @tf.function(jit_compile=jit_compile)
        def gradient(images, shifts):
            with tf.GradientTape() as tape:
                tape.watch(images)
                loss = tf.reduce_sum(upstream * roll(images, shifts))
            return tape.gradient(loss, images)

        np.testing.assert_array_equal(
            gradient(images, tf.constant(shifts)), _rolled(upstream, -shifts)
        )


class TestJitter:
    def test_every_shift_within_its_bound_has_an_equal_share_of_the_draws(self, make_images):
        shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
        images = make_images(25)
        for where in (-0.499, 0.0, 0.499):  # From the first to the last of an interval.
            uniforms = _uniforms(np.array(shifts) + where, 2)
            moved = Jitter(2).apply(tf.constant(images), uniforms)
            np.testing.assert_array_equal(moved, _rolled(images, shifts))

    @pytest.mark.parametrize("pixels", [1, 2, 3, 4])
    def test_the_ends_of_the_draws_stay_within_the_bound(self, make_images, pixels):
        ends = [0.0, np.nextafter(np.float32(1), np.float32(0))]
        images = make_images(2)
        moved = Jitter(pixels).apply(tf.constant(images), tf.constant([[u, u] for u in ends]))
        shifts = [(-pixels, -pixels), (pixels, pixels)]
        np.testing.assert_array_equal(moved, _rolled(images, shifts))

    def test_an_impression_moves_the_same_whatever_is_beside_it(self, make_images):
        images = tf.constant(make_images(6))
        uniforms = tf.constant(np.random.default_rng(0).random((6, 2), "float32"))
        whole = Jitter(3).apply(images, uniforms).numpy()
        part = Jitter(3).apply(tf.gather(images, [4, 1]), tf.gather(uniforms, [4, 1]))
        np.testing.assert_array_equal(part, whole[[4, 1]])
        assert len({image.tobytes() for image in whole}) == 6

    def test_stays_in_range_and_keeps_every_pixel(self, make_images):
        images = make_images(3)
        moved = Jitter(2).apply(tf.constant(images), tf.constant([[0.1, 0.9]] * 3)).numpy()
        np.testing.assert_array_equal(np.sort(moved.reshape(3, -1)), np.sort(images.reshape(3, -1)))

    def test_zero_moves_nothing(self, make_images):
        images = make_images(2)
        moved = Jitter(0).apply(tf.constant(images), tf.constant([[0.0, 0.9]] * 2))
        np.testing.assert_array_equal(moved, images)

    def test_the_gradient_comes_back_to_the_pixel_it_belongs_to(self, make_images):
        images = tf.constant(make_images(2))
        uniforms = _uniforms([(1, -2), (0, 2)], 2)
        with tf.GradientTape() as tape:
            tape.watch(images)
            corners = tf.reduce_sum(Jitter(2).apply(images, uniforms)[:, 0, 0, 0])
        expected = np.zeros((2, 8, 8, 1))
        expected[0, -1 % 8, 2] = 1
        expected[1, 0, -2 % 8] = 1
        np.testing.assert_array_equal(tape.gradient(corners, images), expected)

    def test_takes_two_draws(self):
        assert Jitter(1).num_draws == 2

    def test_leaves_what_is_no_image(self):
        values = tf.constant([[1.0, 2.0, 3.0]])
        np.testing.assert_array_equal(Jitter(2).apply(values, tf.constant([[0.0, 0.0]])), values)

    def test_negative_is_refused(self):
        with pytest.raises(InputError, match=r"pixels=-1 was received; expected 0 or more"):
            Jitter(-1)

    def test_round_trip(self):
        config = keras.saving.serialize_keras_object(Jitter(3))
        assert config["registered_name"] == "keras_zskd>Jitter"
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is Jitter
        assert again.pixels == 3


def test_a_transform_of_ones_own_has_to_say_what_it_does():
    with pytest.raises(NotImplementedError):
        Transform().apply(tf.zeros((1, 8, 8, 1)), tf.zeros((1, 1)))
