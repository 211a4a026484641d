import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.priors import BatchNormStatistics, Prior, TotalVariation
from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.teacher import Teacher

WEIGHTS = np.random.default_rng(5).normal(0, 1, (6, 3))
BIAS = np.array([0.1, -0.2, 0.3])


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def _linear_teacher(input_range=(0.0, 1.0)):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="head")])
    model.get_layer("head").set_weights([WEIGHTS, BIAS])
    return Teacher(model, input_range)


def _engine(teacher, **changes):
    arguments = {
        "targets": OneHotTargets(0.9),
        "temperature": 2.0,
        "priors": (),
        "transforms": (),
        "canvas": UniformCanvas("none"),
        "steps": 5,
        "learning_rate": 0.1,
    }
    return PixelEngine(teacher, **{**arguments, **changes})


def _numpy_gradient(z, target, temperature, input_range):
    """Of sum CE(y, softmax(W' (low + (high - low) z) + b) / tau) by z, by hand."""
    low, high = input_range
    logits = ((low + (high - low) * z) @ WEIGHTS + BIAS) / temperature
    return (_softmax(logits) - target) @ WEIGHTS.T / temperature * (high - low)


def _to_targets(state):
    return np.asarray(state["z"], "float64"), np.asarray(state["target"], "float64")


class TestAdam:
    @pytest.mark.parametrize("input_range", [(0.0, 1.0), (-2.0, 3.0)])
    def test_against_numpy(self, input_range):
        engine = _engine(_linear_teacher(input_range))
        state = engine.start(0, tf.range(4))
        z, target = _to_targets(state)
        mean, square = np.zeros_like(z), np.zeros_like(z)
        for step in range(1, 6):
            gradient = _numpy_gradient(z, target, 2.0, input_range)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            corrected = np.sqrt(square / (1 - 0.999**step))
            z = z - 0.1 * (mean / (1 - 0.9**step)) / (corrected + 1e-8)
        moved = engine.advance(state, 0, tf.constant(5))
        np.testing.assert_allclose(moved["z"], z, rtol=1e-4, atol=1e-5)
        assert int(moved["step"]) == 5

    def test_against_the_optimizer_of_keras(self):
        engine = _engine(_linear_teacher(), learning_rate=0.02)
        state = engine.start(3, tf.range(3))
        variable = keras.Variable(state["z"])
        optimizer = keras.optimizers.Adam(0.02, epsilon=1e-8)
        for _ in range(7):
            gradient = _numpy_gradient(
                variable.numpy().astype("float64"), state["target"].numpy(), 2.0, (0.0, 1.0)
            )
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        moved = engine.advance(state, 3, tf.constant(7))
        np.testing.assert_allclose(moved["z"], variable, rtol=1e-4, atol=1e-5)

    def test_the_constraint_is_applied_after_every_step(self):
        engine = _engine(_linear_teacher(), canvas=UniformCanvas("clip"), learning_rate=0.5)
        state = engine.start(0, tf.range(4))
        z, target = _to_targets(state)
        mean, square = np.zeros_like(z), np.zeros_like(z)
        for step in range(1, 4):
            gradient = _numpy_gradient(z, target, 2.0, (0.0, 1.0))
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            corrected = np.sqrt(square / (1 - 0.999**step))
            z = np.clip(z - 0.5 * (mean / (1 - 0.9**step)) / (corrected + 1e-8), 0, 1)
        moved = engine.advance(state, 0, tf.constant(3))
        np.testing.assert_allclose(moved["z"], z, rtol=1e-3, atol=1e-4)

    def test_in_two_parts_is_the_same_as_in_one(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),), canvas=UniformCanvas("clip")
        )
        state = engine.start(0, tf.range(3))
        once = engine.advance(state, 0, tf.constant(4))
        twice = engine.advance(engine.advance(state, 0, tf.constant(1)), 0, tf.constant(3))
        np.testing.assert_allclose(once["z"], twice["z"], rtol=1e-5, atol=1e-6)

    def test_compiled_equals_eager(self, tiny_teacher):
        engine = _engine(Teacher(tiny_teacher, (0, 1)), priors=(TotalVariation(0.01),))
        state = engine.start(0, tf.range(2))
        eager = engine.advance(state, 0, tf.constant(3))
        compiled = tf.function(engine.advance)(state, 0, tf.constant(3))
        np.testing.assert_allclose(eager["z"], compiled["z"], rtol=1e-4, atol=1e-5)


class TestLossAndGradient:
    def test_cross_entropy_at_the_temperature(self):
        engine = _engine(_linear_teacher(), temperature=4.0)
        state = engine.start(0, tf.range(5))
        z, target = _to_targets(state)
        expected = -(target * np.log(_softmax((z @ WEIGHTS + BIAS) / 4.0))).sum(1)
        loss = engine.loss(state["z"], state["target"], tf.constant([0, 0]))
        np.testing.assert_allclose(loss, expected, rtol=1e-5)

    def test_gradient_by_hand(self):
        engine = _engine(_linear_teacher((-1.0, 1.0)), temperature=4.0)
        state = engine.start(0, tf.range(5))
        z, target = _to_targets(state)
        gradient = engine.gradient(state["z"], state["target"], 0, tf.constant(0))
        np.testing.assert_allclose(
            gradient, _numpy_gradient(z, target, 4.0, (-1.0, 1.0)), rtol=1e-4, atol=1e-6
        )

    @pytest.mark.parametrize("kind", ["softmax", "nested", "conv_head"])
    def test_gradient_against_a_plain_tape_with_priors(self, make_teacher, kind):
        model = make_teacher(kind)
        teacher = Teacher(model, (-1, 1))
        priors = (TotalVariation(0.05),)
        engine = _engine(teacher, priors=priors, canvas=BlobCanvas(scales=(1, 2)))
        state = engine.start(0, tf.range(4))
        z = state["z"]
        with tf.GradientTape() as tape:
            tape.watch(z)
            pixels = 1 / (1 + tf.exp(-z))
            answer = model(2 * pixels - 1, training=False)
            logits = tf.math.log(answer) if "softmax" in kind else answer
            log_probabilities = tf.nn.log_softmax(logits / 2.0)
            loss = -tf.reduce_sum(state["target"] * log_probabilities)
            loss += 0.05 * tf.reduce_sum(tf.abs(pixels[:, 1:] - pixels[:, :-1]))
            loss += 0.05 * tf.reduce_sum(tf.abs(pixels[:, :, 1:] - pixels[:, :, :-1]))
        gradient = engine.gradient(z, state["target"], 0, tf.constant(0))
        np.testing.assert_allclose(gradient, tape.gradient(loss, z), rtol=1e-3, atol=1e-5)
        total = tf.reduce_sum(engine.loss(z, state["target"], tf.constant([0, 0])))
        assert float(total) == pytest.approx(float(loss), rel=1e-4)

    def test_each_prior_gets_its_own_taps_and_weight(self, make_teacher):
        seen = {}

        class Watch(Prior):
            def __init__(self, name, weight, taps):
                super().__init__(weight)
                self.name, self.count = name, taps

            def taps(self, teacher):
                return teacher.batch_norm_inputs * self.count

            def penalty(self, pixels, taps, teacher):
                seen[self.name] = len(taps)
                return tf.fill((tf.shape(pixels)[0],), 10.0)

        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        state = _engine(teacher).start(0, tf.range(4))
        key = tf.constant([0, 0])
        plain = _engine(teacher).loss(state["z"], state["target"], key)
        priors = (Watch("a", 1.0, 0), Watch("b", 0.5, 2), Watch("c", 0.25, 1))
        loss = _engine(teacher, priors=priors).loss(state["z"], state["target"], key)
        assert seen == {"a": 0, "b": 2, "c": 1}
        np.testing.assert_allclose(loss - plain, 17.5, rtol=1e-5)

    def test_batch_norm_prior_lowers_the_distance_to_the_statistics(self, make_teacher):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        prior = BatchNormStatistics(weight=20.0, group_size=4)
        engine = _engine(teacher, priors=(prior,), steps=60)

        def distance(z):
            taps = [teacher.tapped(prior.taps(teacher)[0])(z)]
            return float(tf.reduce_sum(prior.penalty(z, taps, teacher)))

        state = engine.start(0, tf.range(4))
        moved = tf.function(engine.advance)(state, 0, tf.constant(60))
        assert distance(moved["z"]) < 0.6 * distance(state["z"])

    def test_transforms_are_drawn_by_step_and_in_turn(self, tiny_teacher):
        keys = []

        class Watch(Transform):
            def __init__(self, factor):
                self.factor = factor

            def apply(self, pixels, key):
                keys.append(tuple(key.numpy()))
                return pixels * self.factor + 0.1

        teacher = Teacher(tiny_teacher, (0, 1))
        engine = _engine(teacher, transforms=(Watch(0.5), Watch(2.0)))
        state = engine.start(0, tf.range(2))
        for step in (0, 1, 0):
            engine.gradient(state["z"], state["target"], 0, tf.constant(step))
        assert len(set(keys)) == 4  # Two transforms, two steps.
        assert keys[:2] == keys[4:]
        logits = np.asarray(teacher((state["z"] * 0.5 + 0.1) * 2.0 + 0.1))
        expected = -(state["target"].numpy() * np.log(_softmax(logits / 2.0))).sum(1)
        loss = engine.loss(state["z"], state["target"], tf.constant([0, 0]))
        np.testing.assert_allclose(loss, expected, rtol=1e-4)

    def test_the_teacher_is_not_moved(self, make_teacher):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        before = teacher.model.get_weights()
        engine = _engine(teacher, priors=(BatchNormStatistics(group_size=2),))
        engine.advance(engine.start(0, tf.range(4)), 0, tf.constant(3))
        for now, then in zip(teacher.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


class TestFinish:
    def test_says_what_the_impressions_are(self):
        teacher = _linear_teacher((-1.0, 1.0))
        engine = _engine(teacher, temperature=4.0)
        state = engine.start(0, tf.range(5))
        z, target = _to_targets(state)
        finished = {name: np.asarray(value) for name, value in engine.finish(state).items()}
        image = 2 * z - 1
        logits = image @ WEIGHTS + BIAS
        cross_entropy = -(target * np.log(_softmax(logits / 4.0))).sum(1)
        entropy = -(target * np.log(target)).sum(1)
        np.testing.assert_allclose(finished["image"], image, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(finished["logits"], logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(finished["cross_entropy"], cross_entropy, rtol=1e-4)
        np.testing.assert_allclose(finished["gap"], cross_entropy - entropy, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(finished["confidence"], _softmax(logits).max(1), rtol=1e-4)
        np.testing.assert_array_equal(finished["label"], [0, 1, 2, 0, 1])

    def test_gap_of_a_hard_target_is_finite(self):
        engine = _engine(_linear_teacher(), targets=OneHotTargets())
        finished = engine.finish(engine.start(0, tf.range(3)))
        assert np.all(np.isfinite(finished["gap"]))
        np.testing.assert_allclose(finished["gap"], finished["cross_entropy"])

    def test_the_gap_closes(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), temperature=1.0, canvas=UniformCanvas("none"), steps=150
        )
        state = engine.start(0, tf.range(8))
        before = np.asarray(engine.finish(state)["gap"]).mean()
        state = tf.function(engine.advance)(state, 0, tf.constant(150))
        finished = engine.finish(state)
        assert finished["gap"].numpy().mean() < 0.4 * before
        assert np.mean(finished["logits"].numpy().argmax(1) == finished["label"].numpy()) >= 0.5
