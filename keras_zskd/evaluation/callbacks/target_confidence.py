"""`TargetConfidence`: compares target and achieved confidence of impressions."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.predictions import probabilities
from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.callbacks.summary_callback import SummaryCallback

_BINS = 25
_ZOOM = 12
_LEFT, _TOP, _BOTTOM = 32, 20, 36
_DESCRIPTION = (
    "Every impression of the batch by the largest probability of its target (horizontal) and the "
    "probability that the teacher predicts for that class at the synthesis temperature (vertical). "
    "The target is reached on the diagonal. Darker is more, on a logarithmic scale."
)


class TargetConfidence(SummaryCallback):
    """Shows target and achieved confidence in TensorBoard, with loss and gap.

    For the target `y` of impression `x`, with `k = argmax_j y_j`, the target confidence is `y_k`
    and the achieved confidence is `softmax(f(x) / tau)_k` at the temperature `tau` of the
    synthesis, for which `y` is the optimum. For every batch the callback writes the image
    "confidence/achieved_by_target", histograms of both and of the gap, and the scalars
    "synthesis/cross_entropy", "synthesis/gap", "synthesis/confidence" (the teacher's highest
    probability at temperature 1) and "confidence/mean_error".

    Args:
        log_dir: Parent of the directory "target_confidence" for the summaries.

    Example:
        >>> TargetConfidence("logs").directory
        'logs/target_confidence'
    """

    def __init__(self, log_dir: str | os.PathLike[str]):
        super().__init__(log_dir, run="target_confidence")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the summaries of a finished batch."""
        batch = self.latest
        engine = self.model.engine
        target, achieved = confidences(
            batch["target"], batch["logits"], engine.objective.temperature,
            engine.teacher.is_multi_label,
        )  # fmt: skip
        with self.writer.as_default(step=epoch):
            tf.summary.image(
                "confidence/achieved_by_target", _density(target, achieved)[None],
                description=_DESCRIPTION,
            )  # fmt: skip
            tf.summary.histogram("confidence/target", target)
            tf.summary.histogram("confidence/achieved", achieved)
            tf.summary.histogram("synthesis/gap_of_each", batch["gap"])
            tf.summary.scalar("confidence/mean_error", np.abs(target - achieved).mean())
            for name in ("cross_entropy", "gap", "confidence"):
                tf.summary.scalar(f"synthesis/{name}", batch[name].mean())
        self.writer.flush()


def confidences(
    target: np.ndarray, logits: np.ndarray, temperature: float, is_multi_label: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `(N,)` of the largest class of the target: target and achieved."""
    largest = target.argmax(axis=-1)[:, np.newaxis]
    predicted = probabilities(logits, is_multi_label, temperature)
    achieved = np.take_along_axis(predicted, largest, axis=-1)
    return np.take_along_axis(target, largest, axis=-1)[:, 0], achieved[:, 0]


def _density(target: np.ndarray, achieved: np.ndarray) -> np.ndarray:
    """The image: target horizontal, achieved vertical, both from 0 to 1."""
    counts, _, _ = np.histogram2d(achieved, target, bins=_BINS, range=[[0, 1], [0, 1]])
    size = _BINS * _ZOOM
    colors = pictures.heat(np.log1p(counts))[::-1]
    field = colors.repeat(_ZOOM, axis=0).repeat(_ZOOM, axis=1)
    field[size - 1 - np.arange(size), np.arange(size)] = 128  # The diagonal.
    canvas = np.full((_TOP + size + _BOTTOM, _LEFT + size + 24, 3), 255, np.uint8)
    canvas[_TOP - 1 : _TOP + size + 1, _LEFT - 1 : _LEFT + size + 1] = 128
    canvas[_TOP : _TOP + size, _LEFT : _LEFT + size] = field
    ticks = []
    for value in (0.0, 0.5, 1.0):
        ticks.append((_LEFT + int(value * size) - 8, _TOP + size + 4, f"{value:.1f}"))
        ticks.append((8, _TOP + int((1.0 - value) * size) - 7, f"{value:.1f}"))
    ticks.append((_LEFT + size // 2 - 50, _TOP + size + 19, "target confidence"))
    ticks.append((8, 2, "achieved confidence"))
    return pictures.write(canvas, ticks)
