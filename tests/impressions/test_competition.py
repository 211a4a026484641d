import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.competition import Competition, jensen_shannon
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.transforms import Jitter
from keras_zskd.models.teacher import Teacher


def softmax(logits, temperature):
    powers = np.exp(np.asarray(logits, "float64") / temperature)
    return powers / powers.sum(-1, keepdims=True)


def divergence(p, q):
    return (p * np.log(p / q)).sum(-1)


def test_jensen_shannon_of_equal_and_of_disjoint_predictions():
    p = tf.constant([[0.3, 0.7, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    q = tf.constant([[0.3, 0.7, 0.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]])
    # The last by hand: m = (1/2, 1/4, 1/4), both divergences are log(2) / 2.
    expected = [0.0, np.log(2), np.log(2) / 2]
    np.testing.assert_allclose(jensen_shannon(p, q), expected, atol=1e-6)


def test_the_penalty_against_numpy(make_teacher, make_images):
    teacher = Teacher(make_teacher("logits"), (-1.0, 3.0))
    student = make_teacher("batch_norm", seed=3)
    images = make_images(5)
    seen = -1.0 + 4.0 * images
    taps = [teacher(seen)]
    found = Competition(student, temperature=3.0).penalty(tf.constant(images), taps, teacher)
    p, q = softmax(taps[0], 3.0), softmax(student(seen, training=False), 3.0)
    m = (p + q) / 2
    expected = 1 - (divergence(p, m) + divergence(q, m)) / 2
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_both_networks_see_the_transformed_pixels(make_teacher, make_images):
    teacher = Teacher(make_teacher("logits"), (0, 1))
    # A copy of the teacher never differs from it, whatever the shift.
    engine = ImpressionGenerator(
        teacher, priors=[Competition(make_teacher("logits"), 1e6)], transforms=[Jitter(2)]
    ).engine
    z = tf.constant(make_images(4))
    uniforms = tf.constant(np.random.default_rng(0).random((4, 2)), tf.float32)
    target = tf.fill((4, 4), 0.25)
    loss, _ = engine.loss(z, target, uniforms)
    np.testing.assert_allclose(loss, 1e6, rtol=1e-4)
    gradient, _ = engine.gradient(z, target, uniforms)
    assert np.isfinite(gradient).all()


def test_the_configuration_tells_students_apart(make_teacher):
    configs = [
        Competition(make_teacher("logits", seed=seed)).get_config()["student"] for seed in (0, 1, 0)
    ]
    assert configs[0] == configs[2] != configs[1]
    with pytest.raises(InputError, match="temperature=0"):
        Competition(make_teacher("logits"), temperature=0)
