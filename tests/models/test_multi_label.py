"""Multi-label teachers: what they are known by, and the math of their predictions."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import entr, expit, rel_entr

import keras_zskd as zskd
from keras_zskd import InputError, Teacher
from keras_zskd.core.predictions import as_choices
from keras_zskd.deploy.outputs import logits_of
from keras_zskd.distillation.family_choice import rate_families
from keras_zskd.distillation.losses import distillation_loss, label_set_loss
from keras_zskd.evaluation.metrics import PredictiveKL, TeacherAgreement

T = np.array([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0]], "float32")
S = np.array([[1.0, 1.0, 0.0], [-2.0, 0.5, 4.0]], "float32")


def _model(activation="sigmoid", units=3, loss=None):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(units, activation=activation),
        ]
    )
    if loss is not None:
        model.compile(loss=loss)
    return model


class _Subclassed(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.pool, self.head = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(units)

    def call(self, x):
        return self.head(self.pool(x))


def _to_convert(kind, units, loss):
    """A compiled model that `Teacher` converts, and the `input_shape` that it needs."""
    shape = {"dynamic": (None, None, 3), "subclassed": (6, 6, 3), "channels_first": (3, 6, 6)}[kind]
    order = "channels_first" if kind == "channels_first" else "channels_last"
    pool = keras.layers.GlobalAveragePooling2D(data_format=order)
    if kind == "subclassed":
        model = _Subclassed(units)
        model(np.zeros((1, *shape), "float32"))
    else:
        model = keras.Sequential([keras.Input(shape), pool, keras.layers.Dense(units)])
    model.compile(loss=loss)
    return model, (6, 6, 3) if kind == "dynamic" else None


class TestTeacher:
    @pytest.mark.parametrize(
        ("activation", "units", "loss", "expected"),
        [
            ("sigmoid", 3, None, True),
            ("sigmoid", 2, None, True),
            ("linear", 3, keras.losses.BinaryCrossentropy(from_logits=True), True),
            ("sigmoid", 1, "binary_crossentropy", False),
            ("softmax", 3, "binary_crossentropy", False),
            ("linear", 3, None, False),
        ],
    )
    def test_is_known_by_its_end_and_its_loss(self, activation, units, loss, expected):
        assert Teacher(_model(activation, units, loss), (0, 1)).is_multi_label is expected

    @pytest.mark.parametrize("kind", ["dynamic", "subclassed", "channels_first"])
    def test_is_known_by_the_loss_of_a_model_that_is_converted(self, kind):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model, shape = _to_convert(kind, 3, loss)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # The layout is converted.
            teacher = Teacher(model, (0, 1), input_shape=shape)
        assert teacher.is_multi_label
        assert Teacher(teacher).is_multi_label

    def test_subclassed_regressor_raises(self):
        model, _ = _to_convert("subclassed", 1, "mse")
        with pytest.raises(InputError, match="the loss 'mse' of a regressor"):
            Teacher(model, (0, 1))

    def test_returns_logits(self):
        model = _model()
        images = np.random.default_rng(0).random((4, 6, 6, 1), "float32")
        logits = Teacher(model, (0, 1))(images)
        np.testing.assert_allclose(expit(logits), model(images), rtol=1e-5)

    def test_several_models_raise(self):
        with pytest.raises(InputError, match="single-label classifiers where it is several"):
            Teacher([_model(), _model()], (0, 1))


class TestDistiller:
    @pytest.mark.parametrize(
        ("teacher", "student"), [("sigmoid", "softmax"), ("softmax", "sigmoid")]
    )
    def test_a_student_of_the_other_kind_raises(self, teacher, student):
        with pytest.raises(InputError, match=r"`student` must predict .*ends in"):
            zskd.Distiller(Teacher(_model(teacher), (0, 1)), _model(student))

    def test_loss_is_the_sum_of_the_divergences_of_labels(self):
        p, q = expit(T / 4.0), expit(S / 4.0)
        expected = 16.0 * (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).sum(axis=1)
        found = distillation_loss(as_choices(T, True), as_choices(S, True), 4.0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_hard_loss_is_the_sum_of_binary_cross_entropies(self):
        labels = np.array([[1, 0, 1], [0, 0, 1]])
        q = expit(S.astype("float64"))
        expected = -np.where(labels, np.log(q), np.log(1 - q)).sum(axis=1)
        np.testing.assert_allclose(label_set_loss(labels, S), expected, rtol=1e-5)

    def test_loaded_one_is_of_the_same_kind(self, tmp_path):
        distiller = zskd.Distiller(Teacher(_model(), (0, 1)), _model(), hard_label_weight=1.0)
        distiller.compile("adam", metrics=[TeacherAgreement(), PredictiveKL()])
        images = np.random.default_rng(0).random((16, 6, 6, 1), "float32")
        labels = (images[:, 0, :3, 0] > 0.5).astype(int)
        distiller.fit(images, labels, verbose=0)
        logs = distiller.evaluate(images, labels, verbose=0, return_dict=True)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.models.load_model(tmp_path / "distiller.keras")
        assert loaded.teacher.is_multi_label
        again = loaded.evaluate(images, labels, verbose=0, return_dict=True)
        assert again == pytest.approx(logs, rel=1e-5)
        predicted = distiller.student.predict(images, verbose=0) > 0.5
        assert logs["accuracy"] == pytest.approx((predicted == labels).mean(), abs=1e-6)


class TestTargets:
    def test_labels_are_present_as_often_as_their_templates_are_similar(self):
        model = _model()
        kernel = np.zeros((8, 3), "float32")
        kernel[0, :2], kernel[1, 1], kernel[2, 2] = 1.0, 1.0, -1.0  # Cosines 0.71, 0 and 0.
        model.layers[-1].kernel.assign(kernel)
        teacher = Teacher(model, (0, 1))
        drawn, labels = zskd.DirichletTargets((1.0, 0.1)).sample(teacher, 0, np.arange(6000))
        means = drawn[labels == 0].mean(axis=0)
        np.testing.assert_allclose(means, [1.0, np.sqrt(0.5), 0.0], atol=0.03)
        assert ((drawn >= 0) & (drawn <= 1)).all()

    def test_impressions_reach_them(self):
        keras.utils.set_random_seed(1)
        teacher = Teacher(_model(), (0, 1))
        generator = zskd.ImpressionGenerator(
            teacher, targets=zskd.OneHotTargets(0.7), temperature=1.0, steps=200, learning_rate=0.1,
            priors=[], transforms=[],
        )  # fmt: skip
        engine = generator.engine
        done = engine.finish(engine.advance(engine.start(engine.draw(0, np.arange(6))), 200))
        y, p = np.asarray(done["target"], "float64"), expit(np.asarray(done["logits"], "float64"))
        expected = (-(y * np.log(p) + (1 - y) * np.log(1 - p))).sum(axis=1)
        np.testing.assert_allclose(done["cross_entropy"], expected, rtol=1e-4)
        np.testing.assert_allclose(
            done["gap"], expected - (entr(y) + entr(1 - y)).sum(axis=1), atol=1e-4
        )
        before = np.asarray(engine.finish(engine.start(engine.draw(0, np.arange(6))))["gap"])
        assert np.mean(done["gap"]) < 0.6 * before.mean()

    def test_objectives_of_one_label_raise(self):
        with pytest.raises(InputError, match="`objective` must support multi-label teachers"):
            zskd.ImpressionGenerator(Teacher(_model(), (0, 1)), objective=zskd.ClassLogit())


def test_families_are_rated_by_the_mean_information_of_the_labels():
    teacher = Teacher(_model(), (0, 1))
    ratings = rate_families(teacher, count=64)
    assert ratings.mean_prediction.shape[1] == 6
    assert (ratings.mutual_information > -1e-6).all()
    assert (ratings.mutual_information < np.log(2)).all()


def test_metrics_average_over_labels():
    teacher, student = as_choices(T, True), as_choices(S, True)
    agreement, divergence = TeacherAgreement(), PredictiveKL()
    for metric in (agreement, divergence):
        metric.update_state(teacher, student)
    assert float(agreement.result()) == pytest.approx(((T > 0) == (S > 0)).mean())
    p, q = expit(T), expit(S)
    expected = (rel_entr(p, q) + rel_entr(1 - p, 1 - q)).mean()
    assert float(divergence.result()) == pytest.approx(expected, rel=1e-5)


class TestEvaluate:
    def test_each_label_is_an_example(self):
        teacher = Teacher(_model(), (0, 1))
        images = np.random.default_rng(0).random((40, 6, 6, 1), "float32")
        labels = (images[:, 0, :3, 0] > 0.5).astype(int)
        found = zskd.evaluate(teacher, _model(), images, labels)
        z = np.asarray(teacher(images), "float64")
        nll = np.mean(np.where(labels, -np.log(expit(z)), -np.log(expit(-z))))
        assert found["teacher_nll"] == pytest.approx(nll, rel=1e-6)
        assert "teacher_accuracy" not in found
        assert 0 < found["student_mean_average_precision"] <= 1

    def test_labels_of_another_number_raise(self):
        images = np.zeros((4, 6, 6, 1), "float32")
        with pytest.raises(InputError, match=r"sets of labels of shape \(4, 3\)"):
            zskd.evaluate(Teacher(_model(), (0, 1)), _model(), images, np.zeros((4, 2), int))

    def test_outputs_of_a_file_are_inverted(self):
        outputs = tf.sigmoid(T).numpy()
        np.testing.assert_allclose(logits_of(outputs, is_multi_label=True), T, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(logits_of(10.0 * T, is_multi_label=True), 10.0 * T)
