import math

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.targets import (
    CONCENTRATION_EPSILON,
    DirichletTargets,
    OneHotTargets,
    concentration,
)
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.teacher import Teacher


def _many_dirichlets(alpha, count, seed=0):
    """Draw from one Dirichlet distribution, with a single class and scale."""
    targets = DirichletTargets(scales=(1.0,))
    labels = np.zeros(count, np.int64)
    return targets.draw(np.array([alpha]), labels, np.arange(count), seed, len(alpha))


class TestClassSimilarity:
    def test_is_the_cosine_of_the_columns(self):
        templates = np.random.default_rng(0).normal(size=(7, 4))
        expected = np.empty((4, 4))
        for i in range(4):
            for j in range(4):
                a, b = templates[:, i], templates[:, j]
                expected[i, j] = sum(a * b) / math.sqrt(sum(a * a)) / math.sqrt(sum(b * b))
        np.testing.assert_allclose(class_similarity(templates), expected, rtol=1e-12)

    def test_known_angles(self):
        # Columns at 0, 60 and 180 degrees, of different lengths.
        templates = np.array([[2.0, 0.5, -3.0], [0.0, 0.5 * math.sqrt(3), 0.0]])
        expected = [[1, 0.5, -1], [0.5, 1, -0.5], [-1, -0.5, 1]]
        np.testing.assert_allclose(class_similarity(templates), expected, atol=1e-12)


class TestConcentration:
    def test_each_row_is_min_max_normalized(self):
        similarity = np.array([[1.0, 0.5, -1.0], [0.5, 1.0, -0.5], [-1.0, -0.5, 1.0]])
        expected = np.array([[1, 0.75, 0], [2 / 3, 1, 0], [0, 0.25, 1]])
        np.testing.assert_allclose(concentration(similarity), expected, rtol=1e-12)

    def test_a_pruned_class_is_similar_to_no_other(self):
        templates = np.array([[2.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
        cosine = math.sqrt(0.5)
        similarity = class_similarity(templates)
        expected = [[1, 0, cosine], [0, 1, 0], [cosine, 0, 1]]
        np.testing.assert_allclose(similarity, expected, rtol=1e-12)
        np.testing.assert_allclose(
            concentration(similarity), [[1, 0, cosine], [0, 1, 0], [cosine, 0, 1]], rtol=1e-12
        )

    def test_parallel_templates_are_all_similar(self):
        templates = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
        np.testing.assert_array_equal(concentration(class_similarity(templates)), np.ones((3, 3)))

    def test_own_class_is_highest_and_none_is_negative(self):
        templates = np.random.default_rng(1).normal(size=(20, 6))
        alpha = concentration(class_similarity(templates))
        np.testing.assert_array_equal(alpha.argmax(axis=1), np.arange(6))
        assert alpha.min() == 0


class TestDirichletDistribution:
    @pytest.mark.parametrize(
        "alpha", [[1.0, 2.0, 3.0], [0.1, 0.3, 0.05], [1e-4, 1.0001, 0.4], [5.0, 0.5, 0.5]]
    )
    def test_mean_and_variance(self, alpha):
        # E y_i = a_i / a_0, Var y_i = m_i (1 - m_i) / (a_0 + 1).
        count = 4000
        drawn = _many_dirichlets(alpha, count)
        alpha = np.array(alpha)
        mean = alpha / alpha.sum()
        variance = mean * (1 - mean) / (alpha.sum() + 1)
        error = np.abs(drawn.mean(0) - mean)
        assert np.all(error < 4.5 * np.sqrt(variance / count) + 1e-4), error
        fourth = ((drawn - mean) ** 4).mean(0)
        spread = np.sqrt(np.maximum(fourth - variance**2, 0) / count)
        assert np.all(np.abs(drawn.var(0) - variance) < 4.5 * spread + 1e-3)

    def test_covariance(self):
        # Cov(y_i, y_j) = -m_i m_j / (a_0 + 1).
        drawn = _many_dirichlets([1.0, 2.0, 3.0], 8000)
        covariance = np.cov(drawn.T)
        assert covariance[0, 1] == pytest.approx(-(1 / 6) * (2 / 6) / 7, abs=1.5e-3)
        assert covariance[1, 2] == pytest.approx(-(2 / 6) * (3 / 6) / 7, abs=2e-3)

    def test_marginals_follow_the_closed_form_of_beta(self):
        # Dir(1, 1, 1): a marginal is Beta(1, 2) with CDF 1 - (1 - x)^2; Dir(1/2, 1/2): arcsine.
        count = 4000
        limit = 1.95 / math.sqrt(count)  # Kolmogorov-Smirnov, level 0.1 %
        grid = np.arange(count)

        def distance(values, cdf):
            values = cdf(np.sort(values))
            return max(np.max(values - grid / count), np.max((grid + 1) / count - values))

        ones = _many_dirichlets([1.0, 1.0, 1.0], count)
        halves = _many_dirichlets([0.5, 0.5], count)
        assert distance(ones[:, 1], lambda x: 1 - (1 - x) ** 2) < limit
        assert distance(halves[:, 0], lambda x: 2 / np.pi * np.arcsin(np.sqrt(x))) < limit
        assert distance(ones[:, 1], lambda x: x) > limit  # The test is able to fail.

    @pytest.mark.parametrize("alpha", [1e-4, 1e-5, 1e-3])
    def test_tiny_concentrations_stay_finite_and_sum_to_one(self, alpha):
        drawn = _many_dirichlets([alpha] * 10, 500)
        assert np.all(np.isfinite(drawn))
        assert drawn.min() >= 0
        np.testing.assert_allclose(drawn.sum(axis=1), 1.0, atol=1e-5)
        # Nearly all mass is on one class, for each of the classes.
        assert np.median(drawn.max(axis=1)) > 0.999
        winners = np.bincount(drawn.argmax(axis=1), minlength=10)
        assert np.all(np.abs(winners - 50) < 5 * np.sqrt(500 * 0.1 * 0.9)), winners


class TestDirichletTargets:
    @pytest.fixture
    def teacher(self, tiny_teacher):
        return Teacher(tiny_teacher, (0, 1))

    def test_classes_alternate(self, teacher):
        target, label = DirichletTargets().sample(teacher, 0, np.arange(3, 11))
        assert target.shape == (8, 4)
        np.testing.assert_array_equal(label, [3, 0, 1, 2, 3, 0, 1, 2])

    def test_both_scales_have_an_effect_for_every_class(self, teacher):
        # Impression i has class i mod 4 and scale (i div 4) mod 2. Small scales are confident:
        # sum_k E[y_k^2] = sum_k m_k (1 - m_k) / (a_0 + 1) + m_k^2.
        count = 4000
        target, label = DirichletTargets(scales=(2.0, 0.05)).sample(teacher, 0, np.arange(count))
        assert target.dtype == np.float32
        target = target.astype("float64")
        alpha = concentration(class_similarity(teacher.templates))
        turn = np.arange(count) // 4 % 2
        for number, scale in enumerate((2.0, 0.05)):
            for k in range(4):
                drawn = target[(turn == number) & (label == k)]
                assert len(drawn) == count / 8
                a = scale * alpha[k] + CONCENTRATION_EPSILON
                mean = a / a.sum()
                variance = mean * (1 - mean) / (a.sum() + 1)
                squares = (variance + mean**2).sum()
                np.testing.assert_allclose(
                    drawn.mean(0), mean, atol=4.5 * math.sqrt(variance.max() / len(drawn)) + 1e-4
                )
                assert (drawn**2).sum(1).mean() == pytest.approx(squares, abs=0.05)

    def test_a_target_does_not_depend_on_the_other_indices(self, teacher):
        targets = DirichletTargets((1.0, 0.1))
        whole, _ = targets.sample(teacher, 7, np.arange(20))
        part, label = targets.sample(teacher, 7, [13, 2])
        np.testing.assert_array_equal(part, whole[[13, 2]])
        np.testing.assert_array_equal(label, [1, 2])
        other, _ = targets.sample(teacher, 8, np.arange(20))
        assert not np.any(np.all(other == whole, axis=1))

    def test_one_scale(self, teacher):
        target, _ = DirichletTargets([0.5]).sample(teacher, 0, np.arange(8))
        np.testing.assert_allclose(target.sum(1), 1, atol=1e-5)

    @pytest.mark.parametrize("scales", [(), (0.0,), (1.0, -0.1), (float("nan"),)])
    def test_invalid_scales_raise(self, scales):
        with pytest.raises(InputError, match=r"must be.*positive.*Received: scales="):
            DirichletTargets(scales=scales)

    def test_a_teacher_without_templates_raises(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        teacher = Teacher(keras.Model(inputs, x), (0, 1))
        with pytest.raises(InputError, match="no class templates"):
            DirichletTargets().sample(teacher, 0, np.arange(4))

    def test_a_class_with_a_zero_template_never_gives_nan(self, tiny_teacher):
        # An untrained head or a pruned class has no direction, so no cosine.
        head = tiny_teacher.get_layer("head")
        kernel = head.kernel.numpy()
        kernel[:, 2] = 0.0
        head.kernel.assign(kernel)
        teacher = Teacher(tiny_teacher, (0, 1))
        target, _ = DirichletTargets().sample(teacher, 0, np.arange(8))
        assert np.all(np.isfinite(target))
        np.testing.assert_allclose(target.sum(1), 1, atol=1e-5)
        # The class itself, since it is similar to no other.
        np.testing.assert_array_equal(target[[2, 6]].argmax(1), [2, 2])
        assert target[[2, 6], 2].min() > 0.99

    def test_epsilon_is_added_after_scaling(self, teacher):
        # With beta near 0 only epsilon remains, so all classes are equally likely to get the mass.
        target, _ = DirichletTargets(scales=(1e-12,)).sample(teacher, 0, np.arange(0, 8000, 4))
        assert target.max(1).mean() > 0.99
        shares = np.bincount(target.argmax(1), minlength=4) / 2000
        assert np.all(np.abs(shares - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 2000)), shares

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_equal_templates_never_give_nan(self, tiny_teacher):
        head = tiny_teacher.get_layer("head")
        head.kernel.assign(np.ones(head.kernel.shape))
        teacher = Teacher(tiny_teacher, (0, 1))
        target, _ = DirichletTargets().sample(teacher, 0, np.arange(8))
        assert np.all(np.isfinite(target))


class TestOneHotTargets:
    def test_confidence_one(self, tiny_teacher):
        target, label = OneHotTargets().sample(Teacher(tiny_teacher, (0, 1)), 0, np.arange(6))
        np.testing.assert_array_equal(label, [0, 1, 2, 3, 0, 1])
        np.testing.assert_array_equal(target, np.eye(4)[[0, 1, 2, 3, 0, 1]])

    def test_the_rest_is_shared(self, tiny_teacher):
        targets = OneHotTargets(confidence=0.7)
        target, _ = targets.sample(Teacher(tiny_teacher, (0, 1)), 0, np.arange(2))
        expected = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]]
        np.testing.assert_allclose(target, expected, rtol=1e-6)

    @pytest.mark.parametrize("confidence", [0.0, -1.0, 1.1, float("nan")])
    def test_invalid_confidence_raises(self, confidence):
        with pytest.raises(InputError, match=r"must be in \(0, 1\]. Received: confidence="):
            OneHotTargets(confidence)


@pytest.mark.parametrize("targets", [OneHotTargets(0.9), DirichletTargets((2.0, 0.3))])
def test_round_trip(targets, tiny_teacher):
    config = keras.saving.serialize_keras_object(targets)
    assert config["registered_name"] == f"keras_zskd>{type(targets).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(targets)
    assert again.get_config() == targets.get_config()
    teacher = Teacher(tiny_teacher, (0, 1))
    np.testing.assert_array_equal(
        again.sample(teacher, 0, np.arange(9))[0], targets.sample(teacher, 0, np.arange(9))[0]
    )
