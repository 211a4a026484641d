import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.objectives import ClassLogit, MatchTargets, Objective
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets
from keras_zskd.models.teacher import Teacher

LOGITS = np.array([[2.0, 1.0, -1.0], [0.0, 3.0, 1.0]])


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


@pytest.fixture
def teacher(tiny_teacher):
    return Teacher(tiny_teacher, (0, 1))


class TestMatchTargets:
    def test_is_the_cross_entropy_at_the_temperature(self):
        target = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
        expected = -(target * np.log(_softmax(LOGITS / 4.0))).sum(1)
        objective = MatchTargets(DirichletTargets(), 4.0)
        np.testing.assert_allclose(objective.loss(tf.constant(LOGITS), target), expected, rtol=1e-6)
        assert objective.temperature == 4.0
        assert not objective.stops

    def test_targets_come_from_the_targets_object(self, teacher):
        targets = DirichletTargets((2.0,))
        objective = MatchTargets(targets)
        made = objective.sample(teacher, 3, np.arange(5), objective.prepare(teacher))
        for found, expected in zip(made, targets.sample(teacher, 3, np.arange(5)), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_is_met_within_the_tolerance(self):
        target = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]])
        said = -(target * np.log(_softmax(LOGITS / 2.0))).sum(1)
        gap = said - [-(0.7 * np.log(0.7) + 0.2 * np.log(0.2) + 0.1 * np.log(0.1)), 0.0]
        assert gap[0] < 0.2 < gap[1]
        objective = MatchTargets(OneHotTargets(), 2.0, tolerance=0.2)
        assert objective.stops
        is_met = objective.is_met(tf.constant(LOGITS), tf.constant(target))
        np.testing.assert_array_equal(is_met, [True, False])

    @pytest.mark.parametrize("changes", [{"temperature": 0}, {"tolerance": 0.0}])
    def test_invalid_arguments_raise(self, changes):
        ((name, value),) = changes.items()
        with pytest.raises(InputError, match=rf"`{name}` must be.*Received: {name}={value}"):
            MatchTargets(OneHotTargets(), **changes)


class TestClassLogit:
    def test_the_loss_is_the_logit_of_the_class_and_no_other(self):
        logits = tf.constant(LOGITS)
        target = np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = ClassLogit().loss(logits, target)
        np.testing.assert_allclose(loss, [-1.0, -1.0])
        np.testing.assert_array_equal(tape.gradient(loss, logits), [[0, -1, 0], [0, 0, -1]])

    def test_is_met_at_the_confidence(self):
        said = _softmax(LOGITS)
        for share, expected in ((-1e-6, True), (1e-6, False)):
            asked = [said[0, 0] + share, said[1, 1] + share]
            target = np.full((2, 3), 0.0)
            target[[0, 1], [0, 1]] = asked
            is_met = ClassLogit().is_met(tf.constant(LOGITS), tf.constant(target))
            np.testing.assert_array_equal(is_met, [expected] * 2)
        # Confident in another class.
        target = tf.constant([[0.1, 0.6, 0.3], [0.6, 0.3, 0.1]], tf.float64)
        np.testing.assert_array_equal(ClassLogit().is_met(tf.constant(LOGITS), target), [False] * 2)

    def test_targets_are_a_uniform_confidence_of_the_class(self, teacher):
        count = 4000
        target, label = ClassLogit(0.6, 0.9).sample(teacher, 0, np.arange(count))
        assert target.dtype == np.float32
        np.testing.assert_array_equal(label, np.arange(count) % 4)
        np.testing.assert_array_equal(target.argmax(1), label)
        np.testing.assert_allclose(target.sum(1), 1, atol=1e-6)
        rest = np.sort(target, axis=1)[:, :3]
        np.testing.assert_allclose(rest, np.repeat((1 - target.max(1))[:, None] / 3, 3, 1), 1e-4)
        # Kolmogorov-Smirnov distance from U(0.6, 0.9), level 0.1 %.
        confidence = np.sort(target.max(1)).astype("float64")
        grid = np.arange(count) / count
        assert np.abs((confidence - 0.6) / 0.3 - grid).max() < 1.95 / np.sqrt(count)

    def test_a_target_does_not_depend_on_the_other_indices(self, teacher):
        whole, _ = ClassLogit().sample(teacher, 7, np.arange(20))
        part, label = ClassLogit().sample(teacher, 7, [13, 2])
        np.testing.assert_array_equal(part, whole[[13, 2]])
        np.testing.assert_array_equal(label, [1, 2])
        other, _ = ClassLogit().sample(teacher, 8, np.arange(20))
        assert not np.any(other.max(1) == whole.max(1))

    @pytest.mark.parametrize(
        ("low", "high"), [(0.4, 0.9), (0.9, 0.6), (0.6, 0.6), (0.6, 1.1), (float("nan"), 0.9)]
    )
    def test_invalid_confidences_raise(self, low, high):
        with pytest.raises(InputError, match=rf"`low` and `high` must be.*low={low}, high={high}"):
            ClassLogit(low, high)


@pytest.mark.parametrize(
    "objective", [ClassLogit(0.6, 0.7), MatchTargets(DirichletTargets((2.0, 0.3)), 3.0, 0.5)]
)
def test_round_trip(objective):
    config = keras.saving.serialize_keras_object(objective)
    assert config["registered_name"] == f"keras_zskd>{type(objective).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(objective)
    assert again.get_config() == objective.get_config()


def test_a_custom_objective_must_implement_its_methods():
    with pytest.raises(NotImplementedError):
        Objective().sample(None, 0, np.arange(2))
    with pytest.raises(NotImplementedError):
        Objective().loss(tf.constant(LOGITS), tf.constant(LOGITS))
    with pytest.raises(NotImplementedError):
        Objective().is_met(tf.constant(LOGITS), tf.constant(LOGITS))
