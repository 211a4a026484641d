import math

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.distillation.losses import distillation_loss, hard_label_loss


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 4, (2, 6, 5))


class TestDistillationLoss:
    def test_by_hand(self):
        # softmax([0, log 3]) = [1/4, 3/4]; softmax([0, 0]) = [1/2, 1/2].
        loss = distillation_loss([[0.0, math.log(3.0)]], [[0.0, 0.0]])
        expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
        assert float(loss[0]) == pytest.approx(expected, rel=1e-6)
        # At temperature 2 the logits [0, 2 log 3] are equally soft, and the loss is 4 times as
        # large.
        loss = distillation_loss([[0.0, 2 * math.log(3.0)]], [[0.0, 0.0]], temperature=2.0)
        assert float(loss[0]) == pytest.approx(4 * expected, rel=1e-6)

    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
    def test_against_numpy(self, logits, temperature):
        teacher, student = logits
        p, q = _softmax(teacher / temperature), _softmax(student / temperature)
        expected = temperature**2 * (p * (np.log(p) - np.log(q))).sum(1)
        loss = distillation_loss(teacher, student, temperature)
        assert loss.shape == (6,)
        assert loss.dtype == tf.float32
        np.testing.assert_allclose(loss, expected, rtol=2e-4)

    def test_gradient_equals_that_of_the_papers_cross_entropy(self, logits):
        # d/ds tau^2 CE(p, softmax(s / tau)) = tau (q - p).
        teacher, student = logits
        student = tf.constant(student, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(student)
            loss = tf.reduce_sum(distillation_loss(teacher, student, 4.0))
        expected = 4.0 * (_softmax(student.numpy() / 4.0) - _softmax(teacher / 4.0))
        np.testing.assert_allclose(tape.gradient(loss, student), expected, rtol=1e-4, atol=1e-5)

    def test_at_high_temperature_it_is_half_the_variance_of_the_difference(self, logits):
        # tau -> inf: tau^2 KL -> 1/2 mean_k (d_k - mean d)^2 with d = teacher - student.
        teacher, student = logits[:, :, :] / 4
        expected = 0.5 * (teacher - student).var(axis=1)
        loss = distillation_loss(teacher, student, 200.0)
        np.testing.assert_allclose(loss, expected, rtol=0.05)
        assert not np.allclose(distillation_loss(teacher, student, 1.0), expected, rtol=0.05)

    def test_is_zero_only_if_logits_agree_up_to_a_constant(self, logits):
        teacher, student = logits
        np.testing.assert_allclose(distillation_loss(teacher, teacher + 3.0, 2.0), 0, atol=1e-5)
        assert np.all(distillation_loss(teacher, student, 2.0).numpy() > 1e-3)

    def test_direction(self, logits):
        teacher, student = logits
        forward, backward = (
            distillation_loss(*pair).numpy() for pair in ((teacher, student), (student, teacher))
        )
        assert not np.allclose(forward, backward, rtol=1e-2)

    def test_examples_are_independent(self, logits):
        teacher, student = logits
        np.testing.assert_allclose(
            distillation_loss(teacher[2:4], student[2:4], 3.0),
            distillation_loss(teacher, student, 3.0)[2:4],
            rtol=1e-6,
        )

    def test_large_half_precision_logits_stay_finite(self):
        teacher = tf.constant([[60000.0, -60000.0]], tf.float16)
        loss = distillation_loss(teacher, tf.zeros((1, 2), tf.float16))
        assert float(loss[0]) == pytest.approx(math.log(2.0), rel=1e-5)


class TestHardLabelLoss:
    def test_against_numpy(self, logits):
        labels = np.array([0, 4, 2, 2, 1, 3])
        expected = -np.log(_softmax(logits[0])[np.arange(6), labels])
        np.testing.assert_allclose(hard_label_loss(labels, logits[0]), expected, rtol=1e-5)

    @pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32"])
    def test_shapes_and_types_of_labels(self, logits, dtype):
        labels = np.array([0, 4, 2, 2, 1, 3])
        expected = hard_label_loss(labels, logits[0])
        column = hard_label_loss(labels[:, None].astype(dtype), logits[0])
        assert column.shape == (6,)
        np.testing.assert_allclose(column, expected)
