"""Logits as predictions, against SciPy."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from keras_zskd.core.predictions import (
    as_choices,
    as_label_sets,
    choice_targets,
    decided,
    probabilities,
)

LOGITS = np.array([[2.0, -1.0, 0.5], [-3.0, 0.0, 4.0]])


def test_single_label_logits_are_unchanged():
    assert as_choices(LOGITS, False) is LOGITS


def test_choices_have_the_probabilities_of_sigmoids():
    predicted = softmax(np.asarray(as_choices(LOGITS, True)), axis=-1)
    np.testing.assert_allclose(predicted[..., 1], expit(LOGITS), rtol=1e-12)
    np.testing.assert_allclose(predicted.sum(axis=-1), 1.0)


def test_targets_have_the_form_of_choices():
    pairs = np.asarray(choice_targets(np.array([[0.2, 1.0]]), True))
    np.testing.assert_allclose(pairs, [[[0.8, 0.2], [0.0, 1.0]]])


@pytest.mark.parametrize(("is_multi_label", "expected"), [(False, softmax), (True, expit)])
def test_probabilities(is_multi_label, expected):
    options = {} if is_multi_label else {"axis": -1}
    np.testing.assert_allclose(
        probabilities(LOGITS, is_multi_label, 2.0), expected(LOGITS / 2.0, **options)
    )


def test_decisions():
    assert decided(LOGITS, False).tolist() == [0, 2]
    assert decided(LOGITS, True).tolist() == [[True, False, True], [False, False, True]]


def test_a_class_index_is_a_set_of_one_label():
    assert as_label_sets(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    sets = np.array([[1, 1]])
    assert as_label_sets(sets, 2) is sets
