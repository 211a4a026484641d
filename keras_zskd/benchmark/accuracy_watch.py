"""`AccuracyWatch`: records the test accuracy during a training, on which nothing depends."""

import time
from typing import Any

import keras
import numpy as np

from keras_zskd.evaluation.measures import as_logits_function
from keras_zskd.models.lowering.lowered_model import LoweredModel

ACCURACY, SECONDS = "test_accuracy", "test_seconds"
_BATCH = 1_000


class AccuracyWatch(keras.callbacks.Callback):
    """Measures the accuracy on test data after epochs, and adds it to the history.

    The accuracy is only recorded; no choice depends on it. If there are many epochs, evenly spaced
    ones and the last one are measured, and the last value is repeated in between.

    Args:
        images: `(N, *input_shape)`.
        labels: `(N,)`.
        times: Approximate number of measurements in each training, positive.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, times: int = 50):
        super().__init__()
        self._images, self._labels, self._times = images, labels, times

    def on_train_begin(self, logs: Any = None) -> None:
        """Compile the student's forward pass."""
        student: Any = getattr(self.model, "student", self.model)
        if isinstance(student, LoweredModel):
            student = student.model
        self._answer = as_logits_function(student)
        self._every = max(1, round((self.params or {}).get("epochs", 1) / self._times))
        self._accuracy: float | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure, and add "test_accuracy" and the "test_seconds" that it took to the logs."""
        begun = time.perf_counter()
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        if self._accuracy is None or is_last or (epoch + 1) % self._every == 0:
            starts = range(0, len(self._images), _BATCH)
            answers = [np.asarray(self._answer(self._images[i : i + _BATCH])) for i in starts]
            self._accuracy = float(np.mean(np.concatenate(answers).argmax(-1) == self._labels))
        if logs is not None:
            logs[ACCURACY] = self._accuracy
            logs[SECONDS] = time.perf_counter() - begun
