import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd import METHODS, Teacher
from keras_zskd.core.errors import InputError
from keras_zskd.distillation.adversarial_distiller import (
    AdversarialDistiller,
    GeneratedImages,
    mean_over_replicas,
)
from keras_zskd.distillation.generator_networks import image_generator
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Noise
from keras_zskd.runs import backup

pytestmark = pytest.mark.usefixtures("without_xla")

LATENT = 5


def parts(make_teacher, batch_norm=False):
    """Create a teacher, a student and a generator, with the same weights at every call."""
    teacher = Teacher(make_teacher("logits"), (0, 1))
    keras.utils.set_random_seed(1)
    norms = [keras.layers.BatchNormalization() for _ in range(2 * batch_norm)]
    student = keras.Sequential(
        [keras.Input((8, 8, 1)), *norms[:1], keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    generator = keras.Sequential([keras.Input((LATENT,)), keras.layers.Dense(64), *norms[1:],
                                  keras.layers.Activation("sigmoid"),
                                  keras.layers.Reshape((8, 8, 1))])  # fmt: skip
    return teacher, student, generator


class Wrapped(keras.Model):
    """A subclass of `keras.Model` that is not Functional."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, x, training=None):
        return self.model(x, training=training)


def distiller_of(make_teacher, rate=0.1, batch_norm=False, wrap=lambda model: model, **options):
    teacher, student, generator = parts(make_teacher, batch_norm)
    generator = wrap(generator)
    options = {"generator_loss": METHODS["dafl"]().generator_loss, **options}
    distiller = AdversarialDistiller(
        teacher, student, generator, student_loss=distillation_loss, **options
    )
    distiller.compile(
        keras.optimizers.SGD(rate),
        generator_optimizer=keras.optimizers.SGD(rate),
        metrics=[TeacherAgreement()],
    )
    return distiller


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def by_hand(distiller, z, rate):
    """One step of both networks by the formulas; returns the weights of student and generator."""
    student, generator = distiller.student, distiller.generator
    teacher = distiller.teacher_model
    with tf.GradientTape() as tape:
        images = generator(z)
        logits, features = teacher(images)
        probability = tf.nn.softmax(logits)
        oh = -tf.reduce_mean(tf.math.log(tf.reduce_max(probability, axis=-1)))
        a = -tf.reduce_mean(tf.reduce_mean(tf.abs(features), axis=-1))
        p = tf.reduce_mean(probability, axis=0)
        ie = tf.reduce_sum(p * tf.math.log(p)) / np.log(10.0)
        loss = oh + 0.1 * a + 5.0 * ie
    slopes = tape.gradient(loss, [w.value for w in generator.trainable_weights])
    generator_after = [
        w.numpy() - rate * g for w, g in zip(generator.trainable_weights, slopes, strict=True)
    ]
    with tf.GradientTape() as tape:
        p = tf.nn.softmax(logits)
        q = tf.nn.log_softmax(student(images))
        divergence = tf.reduce_mean(tf.reduce_sum(p * (tf.math.log(p) - q), axis=-1))
    slopes = tape.gradient(divergence, [w.value for w in student.trainable_weights])
    student_after = [
        w.numpy() - rate * g for w, g in zip(student.trainable_weights, slopes, strict=True)
    ]
    return float(loss), float(divergence), generator_after, student_after


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapped], ids=["graph", "subclass"])
def test_a_step_matches_the_formulas(make_teacher, wrap):
    distiller = distiller_of(make_teacher, wrap=wrap)
    z = np.random.default_rng(0).normal(size=(12, LATENT)).astype("float32")
    generator_loss, loss, generator_after, student_after = by_hand(distiller, z, 0.1)
    history = distiller.fit(z, batch_size=12, verbose=0).history
    assert history["generator_loss"][0] == pytest.approx(generator_loss, rel=1e-4)
    assert history["loss"][0] == pytest.approx(loss, rel=1e-4)
    for model, after in (
        (distiller.generator, generator_after),
        (distiller.student, student_after),
    ):
        for weight, expected in zip(model.trainable_weights, after, strict=True):
            np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5)


def test_the_teacher_is_unchanged(make_teacher):
    distiller = distiller_of(make_teacher)
    before = [w.numpy() for w in distiller.teacher_model.weights]
    distiller.fit(np.ones((8, LATENT), "float32"), batch_size=4, verbose=0)
    for weight, value in zip(distiller.teacher_model.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


class TestSteps:
    @pytest.fixture
    def shown(self, make_teacher):
        """Images of each update of the student in one training step."""

        def run(**options):
            seen = []

            def student_loss(teacher, student):
                tf.py_function(lambda t: seen.append(t.numpy()), [teacher], [])
                return distillation_loss(teacher, student)

            teacher, student, generator = parts(make_teacher)
            distiller = AdversarialDistiller(
                teacher, student, generator,
                lambda teacher, student: (distillation_loss(teacher.logits, student()), 0.0),
                student_loss, **options,
            )  # fmt: skip
            distiller.compile("sgd", generator_optimizer="sgd")
            distiller.fit(np.ones((4, LATENT), "float32"), batch_size=4, verbose=0)
            assert int(distiller.optimizer.iterations) == options.get("student_steps", 1)
            made = int(distiller.generator_optimizer.iterations)
            assert made == options.get("generator_steps", 1)
            return seen

        return run

    def test_all_steps_of_the_student_see_the_same_images(self, shown):
        first, second, third = shown(student_steps=3)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, third)

    def test_fresh_noise_gives_each_step_new_images(self, shown):
        seen = shown(student_steps=3, fresh_noise=True)
        assert len({s.tobytes() for s in seen}) == 3

    def test_several_steps_of_the_generator(self, shown):
        assert len(shown(generator_steps=2)) == 1

    @pytest.mark.parametrize("name", ["generator_steps", "student_steps"])
    def test_less_than_one_raises(self, make_teacher, name):
        with pytest.raises(InputError, match=f"{name}=0"):
            distiller_of(make_teacher, **{name: 0})


@pytest.mark.parametrize(("batch_norm", "count"), [(False, 12), (True, 12), (True, 11)])
def test_two_replicas_equal_one(make_teacher, two_replicas, batch_norm, count):
    z = np.random.default_rng(0).normal(size=(count, LATENT)).astype("float32")
    alone = distiller_of(make_teacher, batch_norm=batch_norm)
    history = alone.fit(z, batch_size=6, shuffle=False, verbose=0).history
    with two_replicas.scope():
        both = distiller_of(make_teacher, batch_norm=batch_norm)
        history_both = both.fit(z, batch_size=6, shuffle=False, verbose=0).history
    for one, other in zip(alone.weights, both.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)
    for name in ("loss", "generator_loss"):
        assert history_both[name][0] == pytest.approx(history[name][0], rel=1e-4)


def test_the_mean_over_replicas_weights_examples_equally(two_replicas):
    values = two_replicas.experimental_distribute_values_from_function(
        lambda context: tf.constant([[[1.0], [2.0]], [[6.0], [6.0]]][context.replica_id_in_sync_group][
            : 2 - context.replica_id_in_sync_group
        ])
    )  # fmt: skip
    found = two_replicas.run(tf.function(mean_over_replicas), (values,))
    for mean in two_replicas.experimental_local_results(found):
        assert float(mean[0]) == pytest.approx(3.0)


# Killed within an epoch, and for one of them also at its end.
@pytest.mark.parametrize(
    ("replicas", "fresh_noise", "kills"), [(1, False, (5,)), (1, True, (2, 3)), (2, True, (5,))]
)
def test_an_interrupted_run_equals_an_uninterrupted_one(
    make_teacher, tmp_path, monkeypatch, two_replicas, kill, replicas, fresh_noise, kills
):
    def trained(path, *callbacks):
        distiller = distiller_of(make_teacher, student_steps=2, fresh_noise=fresh_noise, seed=3)
        distiller.compile(
            keras.optimizers.Adam(0.01),
            generator_optimizer=keras.optimizers.Adam(0.01, use_ema=True),
            metrics=[TeacherAgreement()],
        )
        history = backup.fit(
            distiller, lambda step: Noise((LATENT,)).stream(6, 0, step), 2, 3, path, callbacks,
            verbose=0,
        )  # fmt: skip
        optimizers = [v for optimizer in distiller.optimizers for v in optimizer.variables]
        values = [v.value for v in (*distiller.variables, *optimizers)]
        return history, [part.numpy() for v in values for part in getattr(v, "values", [v])]

    monkeypatch.setattr(backup, "_SECONDS", 0.0)
    with two_replicas.scope() if replicas == 2 else contextlib.nullcontext():
        history, whole = trained(tmp_path / "whole")
        for step in kills:
            with pytest.raises(kill.Error):
                trained(tmp_path / f"{step}", kill(step))
            again, values = trained(tmp_path / f"{step}")
            assert again == history
            for value, expected in zip(values, whole, strict=True):
                np.testing.assert_array_equal(value, expected)


class TestImageGenerator:
    @pytest.mark.parametrize("shape", [(8, 8, 1), (30, 33, 3), (7,)])
    @pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 3.0)])
    def test_outputs_are_in_the_range_of_the_teacher(self, shape, input_range):
        model = keras.Sequential(
            [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4)]
        )
        network = image_generator(Teacher(model, input_range), latent=6, filters=8)
        images = network(3.0 * Noise((6,)).images(20)).numpy()
        assert images.shape == (20, *shape)
        assert images.min() >= input_range[0]
        assert images.max() <= input_range[1]
        assert images.std(axis=0).min() > 0

    def test_standardized_is_centered_with_a_quarter_of_the_range(self, make_teacher):
        teacher = Teacher(make_teacher("logits"), (-1.0, 3.0))
        network = image_generator(teacher, 6, 8, epsilon=0.8, output="standardized")
        images = network(Noise((6,)).images(400), training=True).numpy()
        assert images.mean() == pytest.approx(1.0, abs=0.01)
        assert images.std() == pytest.approx(1.0, rel=0.03)
        norms = [x for x in network.layers if isinstance(x, keras.layers.BatchNormalization)]
        assert [norm.epsilon for norm in norms[:-1]] == [1e-3, 0.8, 0.8]

    def test_the_seed_determines_the_weights(self, make_teacher):
        teacher = Teacher(make_teacher("logits"), (0, 1))
        one, again, other = (image_generator(teacher, 6, 8, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one.get_weights()[0], again.get_weights()[0])
        assert not np.array_equal(one.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("is_global", [False, True])
def test_updates_of_a_float16_student_have_their_usual_size(make_teacher, is_global):
    sizes = []
    for dtype in ("float32", "mixed_float16"):
        teacher, student, generator = parts(make_teacher)
        before = student.get_weights()[0]
        policy = keras.config.dtype_policy()
        try:
            if is_global:
                keras.config.set_dtype_policy(dtype)
            student = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
                                        keras.layers.Dense(4, dtype=dtype)])  # fmt: skip
            student.layers[-1].kernel.assign(before)
            distiller = AdversarialDistiller(
                teacher, student, generator, METHODS["dafl"]().generator_loss, distillation_loss
            )
            distiller.compile(
                keras.optimizers.SGD(0.1), generator_optimizer=keras.optimizers.SGD(0.1)
            )
            distiller.train_step(Noise((LATENT,)).images(8))
        finally:
            keras.config.set_dtype_policy(policy)
        sizes.append(np.abs(student.get_weights()[0] - before).max())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_generated_categorical_features_have_allowed_values():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    teacher = Teacher(model, [[-1.0, 1.0], {"values": [0, 1, 4]}])
    images = image_generator(teacher, LATENT, 4)(Noise((LATENT,)).images(50))
    assert set(np.unique(images[:, 1])) <= {0.0, 1.0, 4.0}
    assert len(np.unique(images[:, 0])) > 10


def test_generated_images_are_a_source(make_teacher):
    generator = parts(make_teacher)[2]
    source = GeneratedImages(generator, Noise((LATENT,)))
    images = source.images(6)
    np.testing.assert_allclose(images, generator(Noise((LATENT,)).images(6)), atol=1e-6)
    assert not np.isclose(source.images(6, seed=1), images).all(axis=(1, 2, 3)).any()
    first, second = source.stream(4, 0, 2).take(2).as_numpy_iterator()
    (again,) = source.stream(4, 0, 3).take(1).as_numpy_iterator()
    np.testing.assert_array_equal(second["image"], again["image"])
    assert not np.array_equal(first["image"], second["image"])
    assert source.steps(4) is None
