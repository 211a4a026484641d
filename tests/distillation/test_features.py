import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.features import FeatureMatch
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.models.logits import logits_view
from keras_zskd.models.teacher import Teacher

FeatureDistillation = keras.distillation.FeatureDistillation
LogitsDistillation = keras.distillation.LogitsDistillation


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("softmax"), (0, 1))


def _match(teacher, student, *losses):
    return FeatureMatch(teacher, logits_view(student), losses, [1.0] * len(losses))


def _inner(model, name, images):
    return np.asarray(keras.Model(model.inputs[0], model.get_layer(name).output)(images))


class TestWithoutLosses:
    def test_returns_both_logits(self, teacher, make_student, make_images):
        student, images = make_student("softmax"), make_images(4)
        answers, logits, per_example, whole = _match(teacher, student)(images, None, False)
        np.testing.assert_allclose(answers, teacher(images), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(tf.nn.softmax(logits), student(images), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(per_example, np.zeros(4))
        assert float(whole) == 0.0

    def test_known_logits_are_used(self, teacher, make_student, make_images):
        known = np.arange(16.0).reshape(4, 4)
        answers, *_ = _match(teacher, make_student())(make_images(4), known, False)
        np.testing.assert_array_equal(answers, known)
        assert answers.dtype == tf.float32


class TestFeatureDistillation:
    @pytest.mark.parametrize("loss", ["mse", "mae", keras.losses.MeanSquaredError()])
    def test_against_numpy(self, teacher, make_student, make_images, loss):
        student, images = make_student(), make_images(5)
        match = _match(teacher, student, FeatureDistillation(loss, "hidden", "hidden"))
        _, _, per_example, whole = match(images, None, False)
        difference = _inner(teacher.original, "hidden", images) - _inner(student, "hidden", images)
        expected = np.abs(difference).mean(1) if loss == "mae" else (difference**2).mean(1)
        np.testing.assert_allclose(per_example, expected, rtol=1e-4)
        assert float(whole) == 0.0

    def test_of_maps_is_the_mean_over_positions(self, make_teacher, make_student, make_images):
        images = make_images(3)
        student = make_student()
        twin = keras.models.clone_model(student)
        keras.utils.set_random_seed(9)
        twin.set_weights([w + 0.3 for w in student.get_weights()])
        match = _match(Teacher(twin, (0, 1)), student, FeatureDistillation("mse", "conv", "conv"))
        difference = _inner(twin, "conv", images) - _inner(student, "conv", images)
        assert difference.shape == (3, 6, 6, 3)
        np.testing.assert_allclose(
            match(images, None, False)[2], (difference**2).mean((1, 2, 3)), rtol=1e-4
        )

    def test_several_losses_add_up(self, teacher, make_student, make_images):
        student, images = make_student(), make_images(3)
        losses = [
            FeatureDistillation("mse", "hidden", "hidden"),
            FeatureDistillation("mae", "hidden", "hidden"),
        ]
        together = _match(teacher, student, *losses)(images, None, False)[2]
        alone = [_match(teacher, student, loss)(images, None, False)[2] for loss in losses]
        np.testing.assert_allclose(together, alone[0] + alone[1], rtol=1e-5)

    def test_without_layer_names_it_compares_logits(self, teacher, make_student, make_images):
        student, images = make_student(), make_images(3)
        match = _match(teacher, student, FeatureDistillation("mse"))
        expected = ((np.asarray(teacher(images)) - np.asarray(student(images))) ** 2).mean(1)
        np.testing.assert_allclose(match(images, None, False)[2], expected, rtol=1e-4)

    @pytest.mark.parametrize("name", ["head", "hidden"])
    def test_layers_of_a_softmax_student_keep_their_names(
        self, teacher, make_student, make_images, name
    ):
        student, images = make_student("softmax"), make_images(3)
        per_example = _match(teacher, student, FeatureDistillation("mse", name, name))(
            images, None, False
        )[2]
        assert per_example.shape == (3,)
        assert np.all(per_example.numpy() > 0)

    @pytest.mark.parametrize("loss", ["mse", "cosine_similarity"])
    def test_features_of_different_shapes_raise(self, teacher, make_student, make_images, loss):
        # 6 x 6 x 4 values of the teacher and 6 x 6 x 3 of the student.
        with pytest.raises(InputError, match=r"144.*108|108.*144"):
            _match(teacher, make_student(), FeatureDistillation(loss, "flatten", "flatten"))(
                make_images(3), None, False
            )

    @pytest.mark.parametrize("role", ["teacher", "student"])
    def test_unknown_layers_raise(self, teacher, make_student, role):
        names = {
            f"{r}_layer_name": "missing" if r == role else "hidden" for r in ("teacher", "student")
        }
        with pytest.raises(
            InputError,
            match=rf"layers of the {role}. Received: layer 'missing'. Choose one of.*'hidden'",
        ):
            _match(teacher, make_student(), FeatureDistillation("mse", **names))

    def test_features_that_would_broadcast_raise(self, make_student, make_images):
        # (N, 6) and (N, 1): TensorFlow would broadcast without an error.
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Dense(1, name="hidden")(keras.layers.Flatten()(inputs))
        narrow = keras.Model(inputs, keras.layers.Dense(4)(x))
        teacher = Teacher(make_student(seed=2), (0, 1))
        with pytest.raises(InputError, match="hidden"):
            _match(teacher, narrow, FeatureDistillation("mse", "hidden", "hidden"))(
                make_images(2), None, False
            )

    def test_each_model_runs_once_in_the_requested_mode(self, make_student, make_images):
        calls = []

        class Count(keras.layers.Layer):
            def __init__(self, role="", **kwargs):
                super().__init__(**kwargs)
                self.role = role

            def call(self, x, training=None):
                calls.append((self.role, training))
                return x

            def get_config(self):
                return {**super().get_config(), "role": self.role}

        def model(role):
            inputs = keras.Input((8, 8, 1))
            x = Count(role, name="count")(inputs)
            x = keras.layers.Dense(6, name="hidden")(keras.layers.Flatten()(x))
            return keras.Model(inputs, keras.layers.Dense(4)(x))

        losses = [FeatureDistillation("mse", "hidden", "hidden"), LogitsDistillation(2.0)]
        match = _match(Teacher(model("teacher"), (0, 1)), model("student"), *losses)
        for training in (True, False):
            calls.clear()
            match(make_images(2), None, training)
            assert sorted(calls) == [("student", training), ("teacher", False)]


class TestLogitsDistillation:
    @pytest.mark.parametrize(
        "loss", ["kl_divergence", keras.losses.KLDivergence(), keras.losses.kl_divergence]
    )
    def test_divergence_matches_its_documentation(self, teacher, make_student, make_images, loss):
        student, images = make_student(), make_images(4)
        match = _match(teacher, student, LogitsDistillation(3.0, loss))
        expected = distillation_loss(teacher(images), student(images), 3.0)
        np.testing.assert_allclose(match(images, None, False)[2], expected, rtol=1e-4, atol=1e-6)

    def test_other_losses_use_the_scaled_logits(self, teacher, make_student, make_images):
        student, images = make_student(), make_images(4)
        match = _match(teacher, student, LogitsDistillation(2.0, "mse"))
        _, _, per_example, whole = match(images, None, False)
        difference = (np.asarray(teacher(images)) - np.asarray(student(images))) / 2.0
        total = per_example.numpy().mean() + float(whole)
        assert total == pytest.approx(float((difference**2).mean()), rel=1e-4)


def test_a_custom_loss_on_logits(teacher, make_student, make_images):
    class Largest(keras.distillation.DistillationLoss):
        def compute_loss(self, teacher_outputs, student_outputs, **kwargs):
            return keras.ops.max(keras.ops.abs(teacher_outputs - student_outputs))

    student, images = make_student(), make_images(4)
    *_, per_example, whole = _match(teacher, student, Largest())(images, None, False)
    expected = np.abs(np.asarray(teacher(images)) - np.asarray(student(images))).max()
    assert float(whole) == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_array_equal(per_example, np.zeros(4))


def test_labels_are_compared_one_by_one(make_teacher, make_student, make_images):
    teacher = Teacher(make_teacher("logits"), (0, 1))
    teacher.is_multi_label = True
    student, images = make_student(), make_images(4)
    *_, per_example, _ = _match(teacher, student, LogitsDistillation(temperature=2.0))(
        images, None, False
    )
    p, q = (1 / (1 + np.exp(-np.asarray(model(images)) / 2)) for model in (teacher, student))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(per_example, 4 * divergence.sum(axis=1), rtol=1e-3)
