"""Evaluation of students: accuracy, fidelity to the teacher, calibration, attention maps."""

from keras_zskd.evaluation.attention import attention_maps
from keras_zskd.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from keras_zskd.evaluation.impression_measures import measure_impressions
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.evaluation.report.model_card import write_model_card
from keras_zskd.evaluation.report.page import write_report

__all__ = [
    "evaluate",
    "attention_maps",
    "measure_impressions",
    "write_report",
    "write_model_card",
    "expected_calibration_error",
    "negative_log_likelihood",
    "brier_score",
]
