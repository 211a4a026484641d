import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.transforms import AffineJitter, Jitter, Transform, roll


def _uniforms(shifts, pixels):
    """Uniform numbers in the middle of the intervals of `shifts` `(N, 2)`."""
    return tf.constant((np.asarray(shifts) + pixels + 0.5) / (2 * pixels + 1), tf.float32)


def _rolled(images, shifts):
    pairs = zip(images, shifts, strict=True)
    return np.stack([np.roll(image, tuple(shift), (0, 1)) for image, shift in pairs])


class TestRoll:
    @pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3)])
    def test_equals_numpy_roll_of_each_image_by_its_shift(self, make_images, shape):
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

    def test_a_gradient_of_unknown_shape(self, make_images):
        """As the functions of a SavedModel pass them."""
        images = tf.constant(make_images(2, (5, 7, 2)))
        shifts = np.array([[1, -2], [0, 3]], "int32")
        upstream = make_images(2, (5, 7, 2), seed=1)

        @tf.custom_gradient
        def forgets_the_shape(x):
            return x, lambda dy: tf.compat.v1.placeholder_with_default(dy, None)

        @tf.function
        def gradient(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                moved = roll(images, tf.constant(shifts))
                loss = tf.reduce_sum(upstream * forgets_the_shape(moved))
            return tape.gradient(loss, images)

        np.testing.assert_array_equal(gradient(images), _rolled(upstream, -shifts))


class TestJitter:
    def test_all_shifts_have_equal_probability(self, make_images):
        shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
        images = make_images(25)
        for where in (-0.499, 0.0, 0.499):  # From the start to the end of an interval.
            uniforms = _uniforms(np.array(shifts) + where, 2)
            moved = Jitter(2).apply(tf.constant(images), uniforms)
            np.testing.assert_array_equal(moved, _rolled(images, shifts))

    @pytest.mark.parametrize("pixels", [1, 2, 3, 4])
    def test_extreme_draws_stay_within_the_bound(self, make_images, pixels):
        ends = [0.0, np.nextafter(np.float32(1), np.float32(0))]
        images = make_images(2)
        moved = Jitter(pixels).apply(tf.constant(images), tf.constant([[u, u] for u in ends]))
        shifts = [(-pixels, -pixels), (pixels, pixels)]
        np.testing.assert_array_equal(moved, _rolled(images, shifts))

    def test_an_impression_does_not_depend_on_the_others(self, make_images):
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

    def test_zero_changes_nothing(self, make_images):
        images = make_images(2)
        moved = Jitter(0).apply(tf.constant(images), tf.constant([[0.0, 0.9]] * 2))
        np.testing.assert_array_equal(moved, images)

    def test_the_gradient_returns_to_its_pixel(self, make_images):
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

    def test_inputs_that_are_not_images_are_unchanged(self):
        values = tf.constant([[1.0, 2.0, 3.0]])
        np.testing.assert_array_equal(Jitter(2).apply(values, tf.constant([[0.0, 0.0]])), values)

    def test_negative_raises(self):
        with pytest.raises(InputError, match=r"must be 0 or more. Received: pixels=-1"):
            Jitter(-1)

    def test_round_trip(self):
        config = keras.saving.serialize_keras_object(Jitter(3))
        assert config["registered_name"] == "keras_zskd>Jitter"
        again = keras.saving.deserialize_keras_object(config)
        assert type(again) is Jitter
        assert again.pixels == 3


def test_a_custom_transform_must_implement_apply():
    with pytest.raises(NotImplementedError):
        Transform().apply(tf.zeros((1, 8, 8, 1)), tf.zeros((1, 1)))


class TestAffineJitter:
    """Draws in the middle do not change the image: no rotation, scale 1, no shift."""

    def test_draws_in_the_middle_change_nothing(self, make_images):
        images = make_images(3)
        moved = AffineJitter().apply(tf.constant(images), tf.fill((3, 4), 0.5))
        np.testing.assert_allclose(moved, images, atol=1e-5)

    def test_shift_crops_and_mirrors(self, make_images):
        images = make_images(2)
        # No rotation, scale 1, a shift by two rows down and one column to the right.
        uniforms = tf.constant([[0.5, 0.5, 0.0, 0.25]] * 2)
        moved = AffineJitter(pixels=2).apply(tf.constant(images), uniforms)
        padded = np.pad(images, ((0, 0), (2, 0), (1, 0), (0, 0)), "symmetric")[:, :8, :8]
        np.testing.assert_allclose(moved, padded, atol=1e-5)

    def test_a_scale_above_one_magnifies(self):
        y, x = np.mgrid[:9, :9] - 4.0
        images = np.stack([x, y], -1)[None].astype("float32")
        for draw, scale in ((0.0, 0.5), (0.99, 2.0)):
            uniforms = tf.constant([[0.5, draw, 0.5, 0.5]])
            moved = AffineJitter(scales=(0.5, 2.0)).apply(tf.constant(images), uniforms).numpy()
            # Each position shows a source closer to the center by the scale.
            np.testing.assert_allclose(moved[0, 3:6, 3:6], images[0, 3:6, 3:6] / scale, atol=1e-5)

    def test_the_ends_of_the_rotation(self):
        y, x = np.mgrid[:9, :9] - 4.0
        images = np.stack([x, y], -1)[None].astype("float32")
        for draw, degrees in ((0.0, -5.0), (1.0, 5.0)):
            uniforms = tf.constant([[draw, 0.5, 0.5, 0.5]])
            moved = AffineJitter().apply(tf.constant(images), uniforms).numpy()[0, 2:7, 2:7]
            angle = np.deg2rad(degrees)
            expected = np.stack(
                [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], -1
            )[2:7, 2:7]
            np.testing.assert_allclose(moved, expected, atol=1e-5)

    def test_all_scales_have_equal_probability(self):
        y, x = np.mgrid[:9, :9] - 4.0
        images = np.repeat(np.stack([x, y], -1)[None].astype("float32"), 10, axis=0)
        uniforms = np.full((10, 4), 0.5, np.float32)
        uniforms[:, 1] = (np.arange(10) + 0.5) / 10
        moved = AffineJitter().apply(tf.constant(images), tf.constant(uniforms)).numpy()
        found = 1.0 / moved[:, 4, 5, 0]
        np.testing.assert_allclose(found, np.repeat([0.95, 0.975, 1.0, 1.025, 1.05], 2), rtol=1e-4)

    def test_an_impression_does_not_depend_on_the_others(self, make_images):
        images = tf.constant(make_images(6))
        uniforms = tf.constant(np.random.default_rng(0).random((6, 4), "float32"))
        whole = AffineJitter().apply(images, uniforms).numpy()
        part = AffineJitter().apply(tf.gather(images, [4, 1]), tf.gather(uniforms, [4, 1]))
        np.testing.assert_array_equal(part, whole[[4, 1]])
        assert len({image.tobytes() for image in whole}) == 6
        assert whole.min() >= 0
        assert whole.max() <= 1

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_the_gradient_reaches_the_pixels(self, make_images, jit_compile):
        images = tf.constant(make_images(2))
        upstream = make_images(2, seed=1)
        uniforms = tf.constant(np.random.default_rng(0).random((2, 4), "float32"))

        @tf.function(jit_compile=jit_compile)
        def gradient(images):
            with tf.GradientTape() as tape:
                tape.watch(images)
                loss = tf.reduce_sum(upstream * AffineJitter().apply(images, uniforms))
            return loss, tape.gradient(loss, images)

        # The transform is linear in the pixels, so the gradient determines it.
        loss, by_pixels = gradient(images)
        assert float(tf.reduce_sum(by_pixels * images)) == pytest.approx(float(loss), rel=1e-4)
        other = tf.constant(make_images(2, seed=2))
        expected = float(gradient(other)[0])
        assert float(tf.reduce_sum(by_pixels * other)) == pytest.approx(expected, rel=1e-4)

    def test_inputs_that_are_not_images_are_unchanged(self):
        values = tf.constant([[1.0, 2.0, 3.0]])
        np.testing.assert_array_equal(AffineJitter().apply(values, tf.zeros((1, 4))), values)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"degrees": -1.0}, "degrees=-1.0"),
            ({"pixels": float("nan")}, "pixels=nan"),
            ({"scales": ()}, r"scales=\(\)"),
            ({"scales": (1.0, 0.0)}, r"scales=\(1.0, 0.0\)"),
        ],
    )
    def test_invalid_arguments_raise(self, changes, said):
        with pytest.raises(InputError, match=rf"must be.*Received: .*{said}"):
            AffineJitter(**changes)

    def test_round_trip(self):
        config = keras.saving.serialize_keras_object(AffineJitter(3.0, (0.9, 1.1), 1.0))
        assert config["registered_name"] == "keras_zskd>AffineJitter"
        again = keras.saving.deserialize_keras_object(config)
        assert again.get_config() == {"degrees": 3.0, "scales": [0.9, 1.1], "pixels": 1.0}
