import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)


def test_ece_by_hand():
    # Bins of 15: 0.55 is in the 9th, 0.95 in the 15th. 0.55: 1 of 2 right; 0.95: 1 of 2 right.
    probabilities = [[0.55, 0.45], [0.45, 0.55], [0.95, 0.05], [0.05, 0.95]]
    labels = [0, 0, 0, 0]
    expected = 2 / 4 * abs(0.5 - 0.55) + 2 / 4 * abs(0.5 - 0.95)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    # A single bin merges the two errors: accuracy 0.5, confidence 0.75.
    assert expected_calibration_error(probabilities, labels, num_bins=1) == pytest.approx(0.25)


def test_ece_equals_a_loop_over_the_bins():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.5), 500)
    labels = rng.integers(0, 4, 500)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    total = 0.0
    for b in range(15):
        mine = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if mine.any():
            total += mine.mean() * abs(right[mine].mean() - confidence[mine].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(total, rel=1e-9)


def test_certain_answers():
    sure = np.eye(3)
    assert expected_calibration_error(sure, [0, 1, 2]) == 0.0
    assert expected_calibration_error(sure, [1, 2, 0]) == 1.0
    assert brier_score(sure, [0, 1, 2]) == 0.0
    assert brier_score(sure, [1, 2, 0]) == 2.0


def test_brier_by_hand():
    score = brier_score([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]], [0, 0])
    assert score == pytest.approx((0.09 + 0.04 + 0.01 + 0.64 + 0.09 + 0.25) / 2)


def test_negative_log_likelihood_by_hand_and_for_large_logits():
    shift = np.array([[3.0], [-8.0]])  # The softmax does not depend on it.
    logits = np.log([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]]) + shift
    expected = -(np.log(0.2) + np.log(0.5)) / 2
    assert negative_log_likelihood(logits, [1, 2]) == pytest.approx(expected)
    assert negative_log_likelihood([[1000.0, 0.0]], [1]) == pytest.approx(1000.0)
    assert negative_log_likelihood(np.zeros((2, 10)), [3, 9]) == pytest.approx(np.log(10.0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0], "shape"),
        ([0, 3], "must be from 0 to 2"),
        ([-1, 0], "must be from 0 to 2"),
        ([0.0, 1.0], "integers"),
        ([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], "shape"),
    ],
)
@pytest.mark.parametrize(
    "function", [brier_score, expected_calibration_error, negative_log_likelihood]
)
def test_invalid_labels_raise(function, labels, message):
    with pytest.raises(InputError, match=message):
        function(np.full((2, 3), 1 / 3), labels)


def test_zero_bins_raise():
    with pytest.raises(InputError, match="num_bins=0"):
        expected_calibration_error([[1.0, 0.0]], [0], num_bins=0)
