import numpy as np
import pytest
import tensorflow as tf

from keras_zskd import Distiller, Teacher
from keras_zskd.core.errors import InputError
from keras_zskd.distillation.gaussian_processes import GaussianProcesses, fitted
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.distillation.pseudo_examples import moved_uphill

sklearn_gp = pytest.importorskip("sklearn.gaussian_process")


def clusters(count, seed=0):
    """Images of four classes, each around its own center."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 4
    centers = np.random.default_rng(9).uniform(0, 1, (4, 8, 8, 1))
    return (centers[labels] + random.normal(0, 0.1, (count, 8, 8, 1))).astype("float32"), labels


@pytest.fixture(scope="module")
def processes():
    return GaussianProcesses(fitted(*clusters(40), 4))


def test_the_predictions_are_those_of_scikit_learn(processes):
    images, labels = clusters(40)
    seen = clusters(20, seed=1)[0]
    seen = np.concatenate([seen, (seen[:8] + seen[1:9]) / 2])  # Some between two classes.
    arrays = fitted(images, labels, 4)
    flat, new = (x.reshape(len(x), -1).astype("float64") for x in (images, seen))
    mean, variance = (np.asarray(part) for part in processes.latent(tf.constant(seen)))
    for label in range(4):
        kernel = sklearn_gp.kernels.ConstantKernel(arrays["amplitude"][label])
        kernel *= sklearn_gp.kernels.RBF(arrays["length"][label])
        model = sklearn_gp.GaussianProcessClassifier(kernel, optimizer=None)
        model.fit(flat, labels == label)
        expected = model.predict_proba(new)[:, 1]
        # scikit-learn integrates by a sum of five error functions, MacKay by one sigmoid.
        found = 1 / (1 + np.exp(-mean[:, label] / np.sqrt(1 + np.pi * variance[:, label] / 8)))
        np.testing.assert_allclose(found, expected, atol=3e-2)
        # The latent mean and variance by the formulas, in NumPy.
        one, cross = model.base_estimator_, model.kernel_(new, flat)
        np.testing.assert_allclose(mean[:, label], cross @ (one.y_train_ - one.pi_), rtol=1e-6)
        solved = np.linalg.solve(one.L_, one.W_sr_[:, None] * cross.T)
        expected = arrays["amplitude"][label] - (solved**2).sum(0)
        np.testing.assert_allclose(variance[:, label], expected, rtol=1e-5, atol=1e-8)


def test_the_reference_learns_the_classes_and_is_unsure_far_away(processes):
    images, labels = clusters(40, seed=2)
    logits, sigma = processes.predict(images)
    assert np.mean(logits.argmax(-1) == labels) > 0.95
    np.testing.assert_allclose(np.exp(logits).sum(-1), 1.0, rtol=1e-5)
    assert processes.predict(images + 5.0)[1].min() > sigma.max()


def test_images_ascend_its_gradient(processes, make_teacher):
    student = make_teacher("logits", seed=3)
    distiller = Distiller(Teacher(make_teacher("logits"), (0, 1)), student)
    images = np.clip(clusters(12, seed=3)[0], 0, 1)
    moved = moved_uphill(images, processes, distiller, moves=5, learning_rate=0.02)
    before, after = (distillation_loss(processes(x), student(x)).numpy() for x in (images, moved))
    assert np.mean(after > before) > 0.8


def test_a_class_without_images_is_refused():
    with pytest.raises(InputError, match=r"\[4, 3, 3, 0\] images of the classes"):
        fitted(clusters(10)[0], np.arange(10) % 3, 4)
