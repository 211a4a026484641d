import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.errors import InputError
from keras_zskd.impressions.feature_targets import (
    FeatureTargets,
    StrongFeatures,
    feature_correlation,
)
from keras_zskd.models.teacher import Teacher


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("logits"), (0, 1))


def test_the_correlation_is_the_cosine_of_the_incoming_weights(teacher):
    kernel = teacher.original.get_layer("hidden").kernel.numpy().astype("float64")
    lengths = np.sqrt((kernel**2).sum(0))
    expected = kernel.T @ kernel / np.outer(lengths, lengths)
    np.testing.assert_allclose(feature_correlation(teacher), expected, atol=1e-6)


def test_the_correlation_is_that_of_the_templates_where_no_kernel_fits():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    w = model.layers[0].kernel.numpy().astype("float64")
    lengths = np.sqrt((w**2).sum(1))
    found = feature_correlation(Teacher(model, (0, 1)))
    np.testing.assert_allclose(found, w @ w.T / np.outer(lengths, lengths), atol=1e-6)


def test_targets_are_predictions_for_drawn_features_of_the_class(teacher):
    targets, labels = FeatureTargets(1.5, 2.0).sample(teacher, 0, np.arange(40))
    assert labels.tolist() == [0, 1, 2, 3] * 10
    np.testing.assert_allclose(targets.sum(-1), 1.0, rtol=1e-5)
    reached = {label for label in range(4) if (targets.argmax(-1)[labels == label] == label).any()}
    for label in reached:  # A class is missed for all impressions or for few.
        assert np.mean(targets.argmax(-1)[labels == label] == label) > 0.5
    assert len(reached) >= 3
    part, _ = FeatureTargets(1.5, 2.0).sample(teacher, 0, np.arange(7, 9))
    np.testing.assert_array_equal(part, targets[7:9])


def test_a_target_against_numpy(teacher):
    head = teacher.original.get_layer("head")
    w, b = head.kernel.numpy().astype("float64"), head.bias.numpy().astype("float64")
    (target,), (label,) = FeatureTargets(1.5, 2.0).sample(teacher, 0, np.array([5]))
    values, vectors = np.linalg.eigh(feature_correlation(teacher))
    root = vectors * np.sqrt(np.maximum(values, 0))
    np.testing.assert_allclose(root @ root.T, feature_correlation(teacher), atol=1e-8)
    normals = randomness.normals(0, 60, [5], 64 * 6).reshape(64, 6)
    logits = (np.maximum(1.5 * normals @ root.T, 0) @ w + b) / 2.0
    y = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    of_class = [row for row in y if row.argmax() == label]
    expected = of_class[0] if of_class else y[y[:, label].argmax()]
    np.testing.assert_allclose(target, expected, rtol=1e-4)


def test_strong_features_against_numpy(teacher, make_images):
    images = make_images(3)
    model = teacher.original
    hidden = keras.Model(model.inputs[0], model.get_layer("hidden").output)(images).numpy()
    taps = [teacher.tapped(StrongFeatures(1.0).taps(teacher))(images)]
    found = StrongFeatures(1.0).penalty(tf.constant(images), keras.tree.flatten(taps), teacher)
    np.testing.assert_allclose(found, -np.abs(hidden).mean(-1), rtol=1e-5)


def test_rejects_numbers_that_are_not_positive():
    with pytest.raises(InputError, match="sigma=0"):
        FeatureTargets(sigma=0)
