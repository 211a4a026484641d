"""How good a student is: accuracy, fidelity to its teacher, calibration, and where the two look."""

from keras_zskd.evaluation.attention import attention_maps
from keras_zskd.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from keras_zskd.evaluation.evaluate import evaluate

__all__ = [
    "evaluate",
    "attention_maps",
    "expected_calibration_error",
    "negative_log_likelihood",
    "brier_score",
]
