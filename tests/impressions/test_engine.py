import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.objectives import ClassLogit, MatchTargets
from keras_zskd.impressions.priors import BatchNormStatistics, Prior, TotalVariation
from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.models import lenet5_half
from keras_zskd.models.teacher import Teacher

WEIGHTS = np.random.default_rng(5).normal(0, 1, (6, 3))
BIAS = np.array([0.1, -0.2, 0.3])


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def _linear_teacher(input_range=(0.0, 1.0)):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="head")])
    model.get_layer("head").set_weights([WEIGHTS, BIAS])
    return Teacher(model, input_range)


def _engine(teacher, temperature=2.0, **changes):
    arguments = {
        "objective": MatchTargets(OneHotTargets(0.9), temperature),
        "priors": (),
        "transforms": (),
        "canvas": UniformCanvas("none"),
        "steps": 5,
        "learning_rate": 0.1,
    }
    return PixelEngine(teacher, **{**arguments, **changes})


def _numpy_gradient(z, target, temperature, input_range):
    """Gradient of sum CE(y, softmax(W' (low + (high - low) z) + b) / tau) by z, by hand."""
    low, high = input_range
    logits = ((low + (high - low) * z) @ WEIGHTS + BIAS) / temperature
    return (_softmax(logits) - target) @ WEIGHTS.T / temperature * (high - low)


def _begin(engine, count, seed=0):
    """Return the initial state of the first `count` impressions."""
    return engine.start(engine.draw(seed, np.arange(count)))


def _to_targets(state):
    return np.asarray(state["z"], "float64"), np.asarray(state["target"], "float64")


def _rows(state, indices):
    """Return the state of some of the impressions."""
    return {name: tf.gather(value, indices) for name, value in state.items()}


class TestDraw:
    def test_returns_all_random_numbers_as_arrays(self, tiny_teacher):
        canvas = BlobCanvas(scales=(1, 2))
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1), Jitter(2)), canvas=canvas, steps=7
        )
        drawn = engine.draw(3, [5, 0, 9])
        np.testing.assert_array_equal(drawn["label"], [1, 0, 1])
        assert drawn["draws"].shape == (3, 7, 4)
        assert drawn["target"].dtype == drawn["draws"].dtype == np.float32
        np.testing.assert_array_equal(drawn["target"], engine.objective.sample(
            engine.teacher, 3, [5, 0, 9])[0])  # fmt: skip
        for found, expected in zip(
            drawn["canvas"], canvas.draw(3, [5, 0, 9], (8, 8, 1)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
        # Draws differ between impressions, steps and transforms.
        assert len(np.unique(drawn["draws"])) == drawn["draws"].size

    def test_does_not_depend_on_the_other_impressions(self, tiny_teacher):
        engine = _engine(Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),))
        whole, part = engine.draw(0, np.arange(9)), engine.draw(0, [7, 2])
        for name, value in part.items():
            np.testing.assert_array_equal(value, whole[name][[7, 2]], err_msg=name)
        other = engine.draw(1, np.arange(9))
        assert not np.any(other["draws"] == whole["draws"])

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_start_is_the_state_before_the_first_step(self, tiny_teacher, jit_compile):
        canvas = BlobCanvas(scales=(1, 2))
        engine = _engine(Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),), canvas=canvas)
        drawn = engine.draw(0, np.arange(3))
        drawn.pop("label")  # The label is not used by the optimization.
        state = tf.function(engine.start, jit_compile=jit_compile)(drawn)
        z = canvas.form(canvas.draw(0, np.arange(3), (8, 8, 1)), (8, 8, 1))
        np.testing.assert_allclose(state["z"], z, rtol=1e-4, atol=1e-4)
        np.testing.assert_array_equal(state["target"], drawn["target"])
        np.testing.assert_array_equal(state["draws"], drawn["draws"])
        for name in ("mean", "variance"):
            np.testing.assert_array_equal(state[name], np.zeros((3, 8, 8, 1)))
        for name in ("age", "is_done"):
            np.testing.assert_array_equal(state[name], [0, 0, 0])


class TestAdam:
    @pytest.mark.parametrize(
        "input_range", [(0.0, 1.0), (-2.0, 3.0), (np.arange(6) - 3.0, np.arange(6) + 1.0)]
    )
    def test_against_numpy(self, input_range):
        engine = _engine(_linear_teacher(input_range))
        state = _begin(engine, 4)
        z, target = _to_targets(state)
        mean, square = np.zeros_like(z), np.zeros_like(z)
        for step in range(1, 6):
            gradient = _numpy_gradient(z, target, 2.0, input_range)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            corrected = np.sqrt(square / (1 - 0.999**step))
            z = z - 0.1 * (mean / (1 - 0.9**step)) / (corrected + 1e-8)
        moved = engine.advance(state, 5)
        np.testing.assert_allclose(moved["z"], z, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(moved["age"], [5] * 4)

    def test_against_the_keras_optimizer(self):
        engine = _engine(_linear_teacher(), learning_rate=0.02, steps=7)
        state = _begin(engine, 3, seed=3)
        variable = keras.Variable(state["z"])
        optimizer = keras.optimizers.Adam(0.02, epsilon=1e-8)
        for _ in range(7):
            gradient = _numpy_gradient(
                variable.numpy().astype("float64"), state["target"].numpy(), 2.0, (0.0, 1.0)
            )
            optimizer.apply([tf.constant(gradient, tf.float32)], [variable])
        moved = engine.advance(state, 7)
        np.testing.assert_allclose(moved["z"], variable, rtol=1e-4, atol=1e-5)

    def test_the_constraint_is_applied_after_every_step(self):
        engine = _engine(_linear_teacher(), canvas=UniformCanvas("clip"), learning_rate=0.5)
        state = _begin(engine, 4)
        z, target = _to_targets(state)
        mean, square = np.zeros_like(z), np.zeros_like(z)
        for step in range(1, 4):
            gradient = _numpy_gradient(z, target, 2.0, (0.0, 1.0))
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            corrected = np.sqrt(square / (1 - 0.999**step))
            z = np.clip(z - 0.5 * (mean / (1 - 0.9**step)) / (corrected + 1e-8), 0, 1)
        moved = engine.advance(state, 3)
        np.testing.assert_allclose(moved["z"], z, rtol=1e-3, atol=1e-4)

    def test_two_calls_equal_one(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),), canvas=UniformCanvas("clip")
        )
        state = _begin(engine, 3)
        once = engine.advance(state, 4)
        twice = engine.advance(engine.advance(state, 1), 3)
        for name, value in once.items():
            np.testing.assert_allclose(twice[name], value, rtol=1e-5, atol=1e-6, err_msg=name)

    def test_impressions_of_different_ages_continue_from_their_age(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),), canvas=UniformCanvas("clip")
        )
        states = [_begin(engine, 4)]
        for _ in range(5):
            states.append(engine.advance(states[-1], 1))
        mixed = [_rows(states[age], [number]) for number, age in enumerate((3, 0, 2, 1))]
        mixed = {name: tf.concat([part[name] for part in mixed], 0) for name in mixed[0]}
        moved = engine.advance(mixed, 2)
        np.testing.assert_array_equal(moved["age"], [5, 2, 4, 3])
        for number, age in enumerate((5, 2, 4, 3)):
            for name in ("z", "mean", "variance"):
                np.testing.assert_allclose(
                    moved[name][number], states[age][name][number], rtol=1e-4, atol=1e-6,
                    err_msg=name,
                )  # fmt: skip

    def test_an_impression_does_not_depend_on_the_others(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), transforms=(Jitter(1),), priors=(TotalVariation(0.01),)
        )
        state = _begin(engine, 4)
        whole = engine.advance(state, 4)
        # An unused slot may hold any values, and be older than its draws.
        poisoned = {**_rows(state, [2, 1]), "age": tf.constant([0, 400])}
        poisoned["z"] = tf.stack([poisoned["z"][0], poisoned["z"][1] * np.nan])
        alone = engine.advance(poisoned, 4)
        for name in ("z", "mean", "variance"):
            np.testing.assert_allclose(
                alone[name][0], whole[name][2], rtol=1e-4, atol=1e-6, err_msg=name
            )

    @pytest.mark.parametrize("kind", ["logits", "batch_norm"])
    def test_compiled_equals_eager(self, make_teacher, kind):
        teacher = Teacher(make_teacher(kind), (0, 1))
        changes = {"priors": (TotalVariation(0.01),), "transforms": (Jitter(1),)}
        engine = _engine(teacher, **changes)
        state = _begin(engine, 2)
        eager = engine.advance(state, 3)
        in_graph = tf.function(engine.advance)(state, tf.constant(3))
        lowered = _engine(teacher, **changes, compiled=True)
        by_xla = tf.function(lowered.advance, jit_compile=True)(state, tf.constant(3))
        for found in (in_graph, by_xla):
            for name, value in eager.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


class TestStopping:
    """A finished impression is frozen in the state that met the objective."""

    @pytest.fixture
    def engine(self, tiny_teacher):
        return _engine(
            Teacher(tiny_teacher, (0, 1)),
            objective=ClassLogit(0.55, 0.8),
            transforms=(Jitter(1),),
            learning_rate=0.05,
            steps=40,
        )

    def test_each_is_frozen_at_its_own_confidence(self, engine):
        state, advance = _begin(engine, 16), tf.function(engine.advance)
        after = [state]
        for _ in range(engine.steps):
            after.append(advance(after[-1], tf.constant(1)))
        ages = after[-1]["age"].numpy()
        assert len(set(ages)) > 3
        assert ages.min() < 10
        label, target = np.arange(16) % 4, state["target"].numpy()
        for number, age in enumerate(ages):
            assert after[-1]["is_done"][number]
            for name in ("z", "mean", "variance"):
                for later in after[age:]:  # Bitwise equal.
                    np.testing.assert_array_equal(later[name][number], after[age][name][number])
            # Reached with the transforms of that step, and in none before; each has its own draws.
            steps = range(min(age + 1, engine.steps))
            seen = Jitter(1).apply(
                tf.stack([after[step]["z"][number] for step in steps]),
                state["draws"][number, : len(steps)],
            )
            said = _softmax(engine.teacher(seen).numpy())[:, label[number]]
            np.testing.assert_array_equal(
                said >= target[number].max(), [step == age for step in steps]
            )

    def test_one_call_and_compiled_call_equal_single_steps(self, engine):
        state, advance = _begin(engine, 16), tf.function(engine.advance)
        slow = state
        for _ in range(engine.steps):
            slow = advance(slow, tf.constant(1))
        for jit_compile in (False, True):
            moved = tf.function(engine.advance, jit_compile=jit_compile)(state, tf.constant(40))
            np.testing.assert_array_equal(moved["age"], slow["age"])
            np.testing.assert_allclose(moved["z"], slow["z"], rtol=1e-3, atol=1e-4)

    def test_does_not_depend_on_the_others_of_the_batch(self, engine):
        state = _begin(engine, 16)
        advance = tf.function(engine.advance)
        whole = advance(state, tf.constant(40))
        ages = whole["age"].numpy()
        pair = [int(ages.argmin()), int(ages.argmax())]
        part = advance(_rows(state, pair), tf.constant(40))
        np.testing.assert_array_equal(part["age"], ages[pair])
        np.testing.assert_allclose(part["z"], whole["z"].numpy()[pair], rtol=1e-4, atol=1e-5)

    def test_the_loop_ends_when_all_are_done(self, engine, monkeypatch):
        asked, is_met = [], engine.objective.is_met
        monkeypatch.setattr(
            engine.objective, "is_met", lambda *args: asked.append(1) or is_met(*args)
        )
        moved = engine.advance(_rows(_begin(engine, 4), [2, 3]), 1000)
        # One evaluation more than steps, in which the last one is done.
        assert len(asked) == moved["age"].numpy().max() + 1 < 40
        assert np.all(moved["is_done"])

    def test_ends_after_all_steps_if_no_target_is_reached(self, tiny_teacher):
        objective = ClassLogit(0.999999, 1.0)
        engine = _engine(Teacher(tiny_teacher, (0, 1)), objective=objective, learning_rate=1e-4)
        moved = engine.advance(_begin(engine, 4), 1000)
        np.testing.assert_array_equal(moved["age"], [5] * 4)
        assert np.all(moved["is_done"])

    def test_stops_at_a_gap(self):
        engine = _engine(
            _linear_teacher(), objective=MatchTargets(OneHotTargets(0.9), 2.0, 0.3), steps=60
        )
        state = engine.advance(_begin(engine, 9), 60)
        assert len(set(state["age"].numpy())) > 3
        early = state["age"].numpy() < 60
        assert early.all()
        gap = engine.finish(state)["gap"].numpy()
        assert np.all(gap <= 0.3 + 1e-5)
        assert np.median(gap) > 0.2  # They stopped at once.

    def test_nan_is_done_at_once_and_does_not_affect_others(self):
        # A linear teacher, because a fused ReLU may turn NaN into 0.
        engine = _engine(_linear_teacher(), objective=ClassLogit(0.98, 0.99), steps=40)
        state = _begin(engine, 3)
        state["z"] = tf.concat([state["z"][:2], state["z"][2:] * np.nan], 0)
        # In a graph, since TensorFlow simplifies graphs.
        moved = tf.function(engine.advance)(state, tf.constant(40))
        assert moved["age"].numpy()[2] == 0
        assert np.all(np.isfinite(moved["z"][:2]))
        assert moved["age"].numpy()[:2].min() > 0


class TestLossAndGradient:
    def test_cross_entropy_at_the_temperature(self):
        engine = _engine(_linear_teacher(), temperature=4.0)
        state = _begin(engine, 5)
        z, target = _to_targets(state)
        expected = -(target * np.log(_softmax((z @ WEIGHTS + BIAS) / 4.0))).sum(1)
        loss, is_met = engine.loss(state["z"], state["target"])
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
        assert is_met is None

    def test_gradient_by_hand(self):
        engine = _engine(_linear_teacher((-1.0, 1.0)), temperature=4.0)
        state = _begin(engine, 5)
        z, target = _to_targets(state)
        gradient, _ = engine.gradient(state["z"], state["target"])
        np.testing.assert_allclose(
            gradient, _numpy_gradient(z, target, 4.0, (-1.0, 1.0)), rtol=1e-4, atol=1e-6
        )

    @pytest.mark.parametrize("kind", ["softmax", "nested", "conv_head"])
    def test_gradient_against_a_plain_tape_with_priors(self, make_teacher, kind):
        model = make_teacher(kind)
        teacher = Teacher(model, (-1, 1))
        priors = (TotalVariation(0.05),)
        engine = _engine(teacher, priors=priors, canvas=BlobCanvas(scales=(1, 2)))
        state = _begin(engine, 4)
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
        gradient, _ = engine.gradient(z, state["target"])
        np.testing.assert_allclose(gradient, tape.gradient(loss, z), rtol=1e-3, atol=1e-5)
        total = tf.reduce_sum(engine.loss(z, state["target"])[0])
        assert float(total) == pytest.approx(float(loss), rel=1e-4)

    def test_each_prior_gets_its_taps_and_weight(self, make_teacher):
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
        state = _begin(_engine(teacher), 4)
        plain, _ = _engine(teacher).loss(state["z"], state["target"])
        priors = (Watch("a", 1.0, 0), Watch("b", 0.5, 2), Watch("c", 0.25, 1))
        loss, _ = _engine(teacher, priors=priors).loss(state["z"], state["target"])
        assert seen == {"a": 0, "b": 2, "c": 1}
        np.testing.assert_allclose(loss - plain, 17.5, rtol=1e-5)

    def test_batch_norm_prior_lowers_the_distance_to_the_statistics(self, make_teacher):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        prior = BatchNormStatistics(weight=20.0, group_size=4)
        engine = _engine(teacher, priors=(prior,), steps=60)

        def distance(z):
            taps = [teacher.tapped(prior.taps(teacher)[0])(z)]
            return float(tf.reduce_sum(prior.penalty(z, taps, teacher)))

        state = _begin(engine, 4)
        moved = tf.function(engine.advance)(state, 60)
        assert distance(moved["z"]) < 0.6 * distance(state["z"])

    def test_each_transform_gets_its_draws_of_the_step(self, tiny_teacher):
        seen = []

        class Watch(Transform):
            def __init__(self, factor, num_draws):
                self.factor, self.num_draws = factor, num_draws

            def apply(self, pixels, uniforms):
                seen.append(uniforms.numpy())
                return pixels * self.factor + 0.1

        teacher = Teacher(tiny_teacher, (0, 1))
        engine = _engine(teacher, transforms=(Watch(0.5, 1), Watch(2.0, 3)))
        drawn = engine.draw(0, np.arange(2))
        assert drawn["draws"].shape == (2, 5, 4)
        state = engine.start(drawn)
        engine.advance({**state, "age": tf.constant([2, 0])}, 2)
        draws = drawn["draws"]
        # Impression 0 is at its steps 2 and 3, impression 1 at 0 and 1.
        for number, (one, other) in enumerate([(2, 0), (3, 1)]):
            now = np.stack([draws[0, one], draws[1, other]])
            np.testing.assert_array_equal(seen[2 * number], now[:, :1])
            np.testing.assert_array_equal(seen[2 * number + 1], now[:, 1:])
        logits = np.asarray(teacher((state["z"] * 0.5 + 0.1) * 2.0 + 0.1))
        expected = -(state["target"].numpy() * np.log(_softmax(logits / 2.0))).sum(1)
        loss, _ = engine.loss(state["z"], state["target"], tf.constant(draws[:, 0]))
        np.testing.assert_allclose(loss, expected, rtol=1e-4)

    def test_the_teacher_is_unchanged(self, make_teacher):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        before = teacher.model.get_weights()
        engine = _engine(teacher, priors=(BatchNormStatistics(group_size=2),))
        engine.advance(_begin(engine, 4), 3)
        for now, then in zip(teacher.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


class TestFinish:
    def test_values_of_finished_impressions(self):
        teacher = _linear_teacher((-1.0, 1.0))
        engine = _engine(teacher, temperature=4.0)
        state = _begin(engine, 5)
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
        np.testing.assert_array_equal(finished["target"], state["target"])

    def test_gap_of_a_hard_target_is_finite(self):
        engine = _engine(_linear_teacher(), objective=MatchTargets(OneHotTargets()))
        finished = engine.finish(_begin(engine, 3))
        assert np.all(np.isfinite(finished["gap"]))
        np.testing.assert_allclose(finished["gap"], finished["cross_entropy"])

    def test_the_gap_decreases(self, tiny_teacher):
        engine = _engine(
            Teacher(tiny_teacher, (0, 1)), temperature=1.0, canvas=UniformCanvas("none"), steps=150
        )
        state = _begin(engine, 8)
        before = np.asarray(engine.finish(state)["gap"]).mean()
        state = tf.function(engine.advance)(state, 150)
        finished = engine.finish(state)
        assert finished["gap"].numpy().mean() < 0.4 * before
        assert np.mean(finished["logits"].numpy().argmax(1) == np.arange(8) % 4) >= 0.5


class TestBfloat16:
    """The teacher runs forward and backward in bfloat16, everything else in float32."""

    @pytest.fixture(params=["lenet", "batch_norm"])
    def engines(self, request, make_teacher):
        if request.param == "lenet":
            keras.utils.set_random_seed(0)
            teacher = Teacher(lenet5_half(input_shape=(16, 16, 1)), (0, 1))
            priors = ()
        else:
            teacher = Teacher(make_teacher("batch_norm"), (0, 1))
            priors = (BatchNormStatistics(0.1, group_size=4),)
        return [
            _engine(teacher, priors=priors, canvas=UniformCanvas("clip"), precision=precision)
            for precision in ("float32", "bfloat16")
        ]

    def test_the_gradient_is_close_to_that_of_float32(self, engines):
        state = _begin(engines[0], 8)
        found = []
        for engine in engines:
            loss, _ = engine.loss(state["z"], state["target"])
            gradient, _ = engine.gradient(state["z"], state["target"])
            assert gradient.dtype == loss.dtype == tf.float32
            found.append((gradient.numpy(), loss.numpy()))
        (gradient, loss), (of_bfloat16, its_loss) = found
        error = np.linalg.norm(of_bfloat16 - gradient) / np.linalg.norm(gradient)
        # The precision does differ. Of two nearly equal values, the pooling of LeNet may select
        # the other one.
        assert 1e-4 < error < (0.1 if engines[0].teacher.num_classes == 10 else 0.05)
        np.testing.assert_allclose(its_loss, loss, rtol=0.02)

    def test_finished_impressions_are_float32(self, engines):
        state = _begin(engines[0], 4)
        moved = engines[1].advance(state, 2)
        counted = ("age", "is_done")
        assert {value.dtype for name, value in moved.items() if name not in counted} == {tf.float32}
        exact, finished = (engine.finish(moved) for engine in engines)
        for name, value in exact.items():
            assert finished[name].dtype == tf.float32
            np.testing.assert_array_equal(finished[name], value)
        np.testing.assert_allclose(
            finished["logits"], engines[0].teacher(finished["image"]), rtol=1e-4, atol=1e-5
        )

    def test_the_teacher_stays_float32(self, engines):
        dtypes = {layer.compute_dtype for layer in engines[1].teacher.model.layers}
        assert dtypes == {"float32"}


def test_categories_of_an_impression_are_allowed_values_and_are_changed():
    columns = [[-2, 2], {"values": [0, 1]}, {"values": [1, 2, 4]}, [0, 1], [0, 1], [0, 1]]
    engine = _engine(_linear_teacher(columns), canvas=BlobCanvas(), steps=20, learning_rate=1.0)
    state = _begin(engine, 32)
    first = np.asarray(engine.finish(state)["image"])
    last = engine.finish(engine.advance(state, 20))
    rows = np.asarray(last["image"])
    assert set(np.unique(rows[:, 1])) == {0, 1}
    assert set(np.unique(rows[:, 2])) <= {1, 2, 4}
    assert len(np.unique(rows[:, 0])) > 20
    # Their gradient is that of the logits before the choice, so the targets decide them.
    assert (first[:, 1] != rows[:, 1]).any()
    np.testing.assert_allclose(last["logits"], rows @ WEIGHTS + BIAS, rtol=1e-4, atol=1e-4)
