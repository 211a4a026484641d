"""Additions to the training of `best` that were tried, and did not make better students."""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import keras

from keras_zskd.distillation.distiller import Distiller


class AveragedWeights(keras.callbacks.Callback):
    """Exponential moving average of the student's weights, which it has at the end of a training.

    Args:
        calls: Time constant of the average, in calls of `on_train_batch_end`.
    """

    def __init__(self, calls: float):
        super().__init__()
        self._calls, self._averages = calls, None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the averages towards the current weights."""
        weights = self.model.student.get_weights()
        if self._averages is None:
            self._averages = weights
        for average, weight in zip(self._averages, weights, strict=True):
            average += (weight - average) / self._calls

    def on_train_end(self, logs: Any = None) -> None:
        """Set the student to the averages."""
        self.model.student.set_weights(self._averages)


@contextlib.contextmanager
def hint() -> Iterator[None]:
    """`best` also matches the layer before the logits, which must be as wide as the teacher's.

    The squared error has weight 0.1 (Romero et al., "FitNets: Hints for Thin Deep Nets", 2015).
    """

    def distiller(teacher: Any, student: keras.Model, **settings: Any) -> Distiller:
        names = teacher.model.layers[-2].name, student.layers[-2].name
        loss = keras.distillation.FeatureDistillation("mse", *names)
        return Distiller(
            teacher,
            student,
            distillation_losses=[loss],
            distillation_loss_weights=[0.1],
            **settings,
        )

    with mock.patch("keras_zskd.methods.best.Distiller", distiller):
        yield
