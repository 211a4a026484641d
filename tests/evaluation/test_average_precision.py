"""Mean average precision, against scikit-learn and by hand."""

import numpy as np
import pytest

from keras_zskd import InputError
from keras_zskd.evaluation.average_precision import mean_average_precision


@pytest.mark.parametrize("decimals", [6, 1])  # One decimal: many equal scores.
def test_equals_scikit_learn(decimals):
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    random = np.random.default_rng(3)
    labels = (random.random((200, 5)) < 0.3).astype(int)
    scores = (labels + 1.5 * random.standard_normal(labels.shape)).round(decimals)
    expected = sklearn.average_precision_score(labels, scores, average="macro")
    assert mean_average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)


def test_by_hand():
    # Ranks 1 and 3 are present: (1 / 1 + 2 / 3) / 2.
    scores, labels = [[0.9], [0.8], [0.1]], [[1], [0], [1]]
    assert mean_average_precision(scores, labels) == pytest.approx(5 / 6)


def test_labels_of_no_image_are_left_out():
    assert mean_average_precision([[0.9, 0.1], [0.2, 0.3]], [[1, 0], [0, 0]]) == 1.0


def test_no_label_at_all_raises():
    with pytest.raises(InputError, match="at least one label that is present"):
        mean_average_precision([[0.5]], [[0]])
