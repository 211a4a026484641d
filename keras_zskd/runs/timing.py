"""Measure the time of a training step without changing the model."""

import time
from typing import Any

import keras
import numpy as np

from keras_zskd.inputs.source import Source

# Single calls vary by tens of percent, and a call of a small network takes milliseconds.
_LEAST_CALLS, _LEAST_SECONDS = 3, 1.0
_MOST_CALLS = 10_000


def training_seconds(
    model: keras.Model, source: Source, batch_size: int, seed: int, steps: int
) -> tuple[float, float]:
    """Return the seconds of the first call of the train function, and of each later step.

    Compiled functions remain compiled; the variables are restored to their earlier values.

    Args:
        model: A compiled model.
        source: The training inputs.
        batch_size: Examples in a batch.
        seed: Seed of the source.
        steps: Steps per call.
    """
    clock = _Clock()
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(
        source.stream(batch_size, seed),
        epochs=_MOST_CALLS,
        steps_per_epoch=steps,
        callbacks=[clock],
        verbose=0,
        shuffle=False,
    )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    model.stop_training = False
    first, *others = clock.seconds
    # The median, since the load of the machine varies.
    return first, float(np.median(others)) / steps


class _Clock(keras.callbacks.Callback):
    """Measures the seconds of each epoch, and stops once enough were measured."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._begun)
        measured = self.seconds[1:]
        self.model.stop_training = len(measured) >= _LEAST_CALLS and sum(measured) >= _LEAST_SECONDS
