import numpy as np
import pytest

from keras_zskd import Distiller, Teacher
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.distillation.pseudo_examples import (
    TeacherReference,
    answered,
    entropy,
    fidelity_weight,
    interpolated,
    labeled,
    moved_uphill,
)
from keras_zskd.runs.resources import Resources


def test_interpolated_images_lie_between_two(make_images):
    images = make_images(2)
    found = interpolated(images, 50, seed=0)
    share = (found - images[1]).sum((1, 2, 3)) / (images[0] - images[1]).sum()
    expected = share[:, None, None, None] * images[0] + (1 - share[:, None, None, None]) * images[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert share.min() >= -1e-5
    assert share.max() <= 1 + 1e-5
    assert len(np.unique(share.round(4))) > 20


def test_the_fidelity_weight_at_its_two_reference_points():
    # Entropies 0, log 2 and log 4: the mean is log 2.
    logits = np.array([[90.0, 0, 0, 0], [90, 90, 0, 0], [0, 0, 0, 0]])
    weight = fidelity_weight(entropy(logits), fidelity=2.0, fidelity_mean=0.5)
    np.testing.assert_allclose(weight, [2.0, 0.5, 0.125], rtol=1e-5)


def test_moves_increase_the_divergence_and_stay_in_the_range(
    make_teacher, make_images, tiny_teacher
):
    teacher = Teacher(make_teacher("logits"), (-1.0, 3.0))
    student = make_teacher("logits", seed=3)
    images = 4 * make_images(10) - 1
    moved = moved_uphill(
        images, TeacherReference(teacher), Distiller(teacher, student), moves=10, learning_rate=0.02
    )
    before, after = (distillation_loss(teacher(x), student(x)).numpy() for x in (images, moved))
    assert np.mean(after > before) > 0.8
    assert moved.min() >= -1.0
    assert moved.max() <= 3.0
    # Ten steps of Adam at 0.02 on pixels scaled to [0, 1].
    assert 0.01 < np.abs(moved - images).max() / 4 <= 0.21  # Adam may go a little further


def test_a_mixed_batch_has_the_loss_of_the_paper(make_teacher, make_images):
    teacher = Teacher(make_teacher("logits"), (0, 1))
    student = make_teacher("logits", seed=3)
    few = {"image": make_images(6), "label": np.arange(6) % 4}
    pool = make_images(20)[8:]
    parts = [
        labeled(few["image"], few["label"], teacher, 4.0),
        answered(pool, TeacherReference(teacher), 1.0, 0.5, 0.75),
    ]
    total = 0.0
    for part, share in zip(parts, (0.25, 0.75), strict=True):
        inputs, _, weight = part.arrays
        loss = distillation_loss(inputs["logits"], student(inputs["image"])).numpy()
        total += share * float(np.mean(weight * loss))
    probability = np.exp(student(few["image"]).numpy())
    probability /= probability.sum(-1, keepdims=True)
    cross_entropy = -np.log(probability[np.arange(6), few["label"]]).mean()
    divergence = distillation_loss(teacher(pool), student(pool)).numpy()
    weight = fidelity_weight(entropy(teacher(pool).numpy()), 1.0, 0.5)
    assert total == pytest.approx(cross_entropy + np.mean(weight * divergence), rel=1e-4)


def test_a_few_images_are_balanced(monkeypatch, tiny_teacher):
    labels = np.repeat([0, 1, 2], [50, 50, 2])
    images = np.arange(102, dtype="float32")[:, None] * np.ones((1, 4), "float32")
    monkeypatch.setattr("keras_zskd.inputs.datasets.load", lambda *arguments: (images, labels))
    resources = Resources(training_dataset="x")
    chosen, theirs = resources.images(10, Teacher(tiny_teacher, (0, 1)), seed=0)
    assert np.bincount(theirs).tolist() == [4, 4, 2]
    np.testing.assert_array_equal(labels[chosen[:, 0].astype(int)], theirs)
    again, _ = resources.images(10, Teacher(tiny_teacher, (0, 1)), seed=0)
    other, _ = resources.images(10, Teacher(tiny_teacher, (0, 1)), seed=1)
    np.testing.assert_array_equal(chosen, again)
    assert not np.array_equal(chosen, other)
