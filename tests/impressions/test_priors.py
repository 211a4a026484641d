import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.priors import (
    BatchNormStatistics,
    PixelNorm,
    Prior,
    TotalVariation,
)
from keras_zskd.models.teacher import Teacher


class TestTotalVariation:
    def test_against_numpy(self, tiny_teacher):
        pixels = np.random.default_rng(0).uniform(size=(3, 8, 8, 1)).astype("float32")
        down = np.abs(pixels[:, 1:] - pixels[:, :-1]).sum((1, 2, 3))
        right = np.abs(pixels[:, :, 1:] - pixels[:, :, :-1]).sum((1, 2, 3))
        penalty = TotalVariation(5.0).penalty(
            tf.constant(pixels), [], Teacher(tiny_teacher, (0, 1))
        )
        np.testing.assert_allclose(penalty, down + right, rtol=1e-5)

    def test_by_hand(self, tiny_teacher):
        # A white 2x2 square on black has a border of 8, summed over the color channels.
        pixels = np.zeros((2, 8, 8, 1), "float32")
        pixels[0, 3:5, 3:5] = 1.0
        penalty = TotalVariation().penalty(tf.constant(pixels), [], Teacher(tiny_teacher, (0, 1)))
        np.testing.assert_allclose(penalty, [8.0, 0.0], atol=1e-6)

    def test_inputs_that_are_not_images_raise(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        with pytest.raises(InputError, match=r"TotalVariation.*shape \(4,\).*Leave this prior out"):
            TotalVariation().penalty(tf.zeros((2, 4)), [], Teacher(model, (0, 1)))

    def test_has_no_taps_and_no_groups(self, tiny_teacher):
        prior = TotalVariation()
        assert prior.taps(Teacher(tiny_teacher, (0, 1))) == []
        assert prior.group_size == 1


class TestPixelNorm:
    def test_against_numpy_and_finite_at_mid_gray(self, tiny_teacher, make_images):
        pixels = make_images(3)
        pixels[0] = 0.5
        pixels = tf.constant(pixels)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            penalty = PixelNorm(2.0).penalty(pixels, [], Teacher(tiny_teacher, (0, 1)))
        expected = [np.sqrt(((image - 0.5) ** 2).sum()) for image in pixels.numpy()]
        np.testing.assert_allclose(penalty, expected, rtol=1e-5, atol=1e-6)
        gradient = tape.gradient(penalty, pixels).numpy()
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(
            gradient[1], (pixels.numpy()[1] - 0.5) / expected[1], rtol=1e-4, atol=1e-6
        )


class TestBatchNormStatistics:
    @staticmethod
    def _expected(activations, layers, group):
        """The formula, group by group, in float64."""
        count = len(activations[0])
        penalty = np.zeros(count)
        for start in range(0, count, group):
            total = 0.0
            for values, layer in zip(activations, layers, strict=True):
                part = np.asarray(values[start : start + group], "float64")
                part = part.reshape(-1, part.shape[-1])
                mean, variance = part.mean(0), part.var(0)
                total += np.sqrt(((mean - np.asarray(layer.moving_mean)) ** 2).sum())
                total += np.sqrt(((variance - np.asarray(layer.moving_variance)) ** 2).sum())
            penalty[start : start + group] = total
        return penalty

    def test_against_numpy_with_two_layers(self, make_images):
        keras.utils.set_random_seed(2)
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
        x = keras.layers.BatchNormalization(name="first")(x)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(5, name="dense")(x)
        x = keras.layers.BatchNormalization(name="second")(x)
        model = keras.Model(inputs, keras.layers.Dense(4)(x))
        rng = np.random.default_rng(0)
        for name in ("first", "second"):
            layer = model.get_layer(name)
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.moving_variance.shape))
        images = make_images(6)
        teacher = Teacher(model, (0, 1))
        prior = BatchNormStatistics(weight=3.0, group_size=3)
        taps = [np.asarray(tap) for tap in teacher.tapped(prior.taps(teacher))(images)]
        assert [tap.shape for tap in taps] == [(6, 6, 6, 3), (6, 5)]
        expected = self._expected(
            [
                keras.Model(inputs, model.get_layer("conv").output)(images).numpy(),
                keras.Model(inputs, model.get_layer("dense").output)(images).numpy(),
            ],
            [model.get_layer("first"), model.get_layer("second")],
            group=3,
        )
        penalty = prior.penalty(images, taps, teacher)
        np.testing.assert_allclose(penalty, expected, rtol=1e-4)
        assert penalty[0] != penalty[3]

    def test_is_zero_where_the_statistics_match(self, make_teacher, make_images):
        model = make_teacher("batch_norm")
        images = make_images(4)
        inner = keras.Model(model.inputs[0], model.get_layer("conv").output)(images).numpy()
        bn = model.get_layer("bn")
        bn.moving_mean.assign(inner.mean((0, 1, 2)))
        bn.moving_variance.assign(inner.var((0, 1, 2)))
        teacher = Teacher(model, (0, 1))
        prior = BatchNormStatistics(group_size=4)
        taps = [teacher.tapped(prior.taps(teacher)[0])(images)]
        np.testing.assert_allclose(prior.penalty(images, taps, teacher), 0.0, atol=1e-5)

    def test_the_axis_may_be_any(self):
        inputs = keras.Input((6, 3))
        x = keras.layers.BatchNormalization(axis=1, name="bn")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
        rows = np.random.default_rng(0).random((4, 6, 3), "float32")
        model.get_layer("bn").moving_mean.assign(rows.mean((0, 2)))
        model.get_layer("bn").moving_variance.assign(rows.var((0, 2)))
        prior = BatchNormStatistics(group_size=4)
        penalty = prior.penalty(rows, [tf.constant(rows)], Teacher(model, (0, 1)))
        np.testing.assert_allclose(penalty, 0.0, atol=1e-5)

    def test_the_effect_of_a_weight_does_not_depend_on_the_group_size(
        self, make_teacher, make_images
    ):
        # Copies of one impression have its statistics for every group size.
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        images = tf.repeat(make_images(1), 12, axis=0)
        found = []
        for group_size in (2, 3, 12):
            prior = BatchNormStatistics(group_size=group_size)
            taps = [teacher.tapped(prior.taps(teacher)[0])(images)]
            found.append(prior.penalty(images, taps, teacher))
        np.testing.assert_allclose(found[0], found[1], rtol=1e-4)
        np.testing.assert_allclose(found[0], found[2], rtol=1e-4)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_gradient_against_the_plain_formula(self, make_teacher, jit_compile):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        prior = BatchNormStatistics(group_size=3)
        (layer,) = teacher.batch_norms
        rng = np.random.default_rng(0)
        value = tf.constant(rng.normal(1.0, 2.0, (6, 6, 6, 4)), tf.float32)
        factors = tf.constant(rng.uniform(0.5, 2.0, 6), tf.float32)

        def plain(value):
            grouped = tf.reshape(value, (2, 3 * 36, 4))
            mean = tf.reduce_mean(grouped, axis=1)
            variance = tf.reduce_mean((grouped - mean[:, None]) ** 2, axis=1)
            total = tf.norm(mean - layer.moving_mean, axis=-1)
            return tf.repeat(total + tf.norm(variance - layer.moving_variance, axis=-1), 3)

        def gradient(penalty, value):
            with tf.GradientTape() as tape:
                tape.watch(value)
                loss = tf.reduce_sum(factors * penalty(value))
            return tape.gradient(loss, value)

        found = tf.function(
            lambda value: gradient(lambda v: prior.penalty(v, [v], teacher), value),
            jit_compile=jit_compile,
        )(value)
        expected = gradient(plain, value).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())

    def test_gradient_is_finite_where_the_statistics_match(self, make_teacher):
        model = make_teacher("batch_norm")
        teacher = Teacher(model, (0, 1))
        prior = BatchNormStatistics(group_size=2)
        (layer,) = teacher.batch_norms
        value = tf.stack([layer.moving_mean.value + 1.0, layer.moving_mean.value - 1.0])
        layer.moving_variance.assign([1.0] * 4)
        with tf.GradientTape() as tape:
            tape.watch(value)
            loss = tf.reduce_sum(prior.penalty(value, [value], teacher))
        assert np.all(np.isfinite(tape.gradient(loss, value)))

    @pytest.mark.parametrize("group_size", [1, 0, -2])
    def test_small_groups_raise(self, group_size):
        with pytest.raises(
            InputError, match=rf"must be 2 or more. Received: group_size={group_size}"
        ):
            BatchNormStatistics(group_size=group_size)


@pytest.mark.parametrize("prior_class", [TotalVariation, BatchNormStatistics])
@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_negative_weights_raise(prior_class, weight):
    with pytest.raises(InputError, match=r"`weight` must be 0 or more. Received: weight="):
        prior_class(weight=weight)


@pytest.mark.parametrize("prior", [TotalVariation(0.25), BatchNormStatistics(2.0, group_size=7)])
def test_round_trip(prior):
    config = keras.saving.serialize_keras_object(prior)
    assert config["registered_name"] == f"keras_zskd>{type(prior).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(prior)
    assert again.get_config() == prior.get_config()
    assert again.weight == prior.weight
    assert again.group_size == prior.group_size


def test_a_custom_prior_must_implement_its_penalty(tiny_teacher):
    with pytest.raises(NotImplementedError):
        Prior(1.0).penalty(tf.zeros((1, 8, 8, 1)), [], Teacher(tiny_teacher, (0, 1)))
