import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd import METHODS, Teacher
from keras_zskd.distillation.pool_generator import PoolGenerator, class_codes
from keras_zskd.runs.rehearsal import Rehearsal

pytestmark = pytest.mark.usefixtures("without_xla")


def softmax(x):
    powers = np.exp(np.asarray(x, "float64"))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("kind", ["logits", "batch_norm"])
def test_the_images_of_a_batch_lower_the_loss(make_teacher, kind):
    teacher = Teacher(make_teacher(kind), (-1.0, 3.0))
    method = METHODS["nayer"](bn=0.1)
    generator = PoolGenerator(
        teacher, make_teacher("logits", seed=3), method.generator_loss, 6, 4, 5, 0.02
    )
    found = []
    for steps in (1, 12):
        generator.restart(7)
        images = generator.images(1, steps, seed=2, adversarial=0.0)["image"]
        assert images.shape == (20, 8, 8, 1)
        assert images.min() >= -1.0
        assert images.max() <= 3.0
        probability = softmax(teacher(images))[np.arange(20), np.arange(20) % 4]
        found.append(-np.log(probability).mean())
    if kind == "logits":
        assert found[1] < found[0]
    generator.restart(7)
    again = generator.images(2, 12, seed=2, adversarial=0.0)["image"]
    np.testing.assert_allclose(again[:20], images, atol=1e-5)
    # A noisy layer of its own for each group and batch.
    assert np.abs(again[20:] - again[:20]).max() > 0.1
    assert np.abs(again[4:8] - again[:4]).max() > 0.1


def test_the_loss_against_numpy():
    random = np.random.default_rng(0)
    teacher, student = random.normal(0, 2, (2, 30, 4)).astype("float32")
    labels = np.arange(30) % 4
    method = METHODS["nayer"](oh=0.7, bn=3.0)
    p, q = softmax(teacher), softmax(student)
    one_hot = -np.log(p[np.arange(30), labels]).mean()
    agree = p.argmax(-1) == q.argmax(-1)
    assert 0 < agree.sum() < 30
    differ = (agree * (p * np.log(p / q)).sum(-1)).mean()
    found = method.generator_loss(
        tf.constant(teacher), tf.constant(student), tf.constant(labels), 0.25, 1.5
    )
    assert float(found) == pytest.approx(0.7 * one_hot + 3.0 * 0.25 - 1.5 * differ, rel=1e-4)


def test_codes_are_standardized_over_the_classes():
    templates = np.random.default_rng(0).normal(2, 3, (5, 4))
    templates[2] = 1.0  # A feature that all classes weigh alike.
    codes = class_codes(templates)
    assert codes.shape == (4, 5)
    np.testing.assert_allclose(codes.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(codes.std(0), [1, 1, 0, 1, 1], rtol=1e-5)


def test_an_estimate_takes_a_few_steps(make_teacher, monkeypatch):
    steps = []
    images = PoolGenerator.images

    def counted(self, batches, num_steps, *arguments):
        steps.append(batches * num_steps)
        return images(self, batches, num_steps, *arguments)

    monkeypatch.setattr(PoolGenerator, "images", counted)
    method = METHODS["nayer"](
        rounds=1, batches=3, groups=5, generator_steps=1_000, latent=4, filters=4, steps=8,
        batch_size=4,
    )  # fmt: skip
    keras.utils.set_random_seed(0)
    teacher = Teacher(make_teacher("logits"), (0, 1))
    with Rehearsal(teacher, make_teacher("logits", seed=3)) as rehearsal:
        method.train(rehearsal)
    assert sum(steps) == 21
    assert [stage.name for stage in rehearsal.stages] == ["pool-1", "training-1"]
    assert rehearsal.stages[0].seconds > 0
