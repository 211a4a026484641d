"""Measure the time of a training step without changing the model."""

import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.inputs.source import Source

_LEAST_CALLS = 3
_MOST_CALLS = 10_000
# The first end of an epoch, which compiles the evaluation, does not count in a median of three.
_EPOCH_ENDS = 3


def training_seconds(
    model: keras.Model,
    source: Source,
    batch_size: int,
    seed: int,
    steps: int,
    least_seconds: float = 1.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> tuple[float, float]:
    """Return the seconds of the first call of the train function, and of each later step.

    Compiled functions remain compiled; the variables are restored to their earlier values.

    Args:
        model: A compiled model.
        source: The training inputs.
        batch_size: Examples in a batch.
        seed: Seed of the source.
        steps: Steps per call.
        least_seconds: Time to measure for. Single calls vary by tens of percent, and a call of a
            small network takes milliseconds.
        callbacks: Those of the training, which take longer than a step of a small network.
    """
    clock = _Clock(least_seconds)
    # In one epoch, since the end of an epoch takes as long as several steps of a small network.
    _fit(model, source.stream(batch_size, seed), 1, steps * _MOST_CALLS, [*callbacks, clock])
    begun, first_end, *others = clock.times
    return first_end - begun, (others[-1] - first_end) / (len(others) * steps)


def epoch_seconds(
    model: keras.Model,
    source: Source,
    batch_size: int,
    seed: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[float, float]:
    """Return the seconds to start a training whose step is compiled, and those between epochs.

    The start includes the first call. For the arguments see `training_seconds`.
    """
    clock = _EpochEnds()
    begun = time.perf_counter()
    _fit(model, source.stream(batch_size, seed), _EPOCH_ENDS + 1, steps, [*callbacks, clock])
    return clock.first - begun, float(np.median(clock.seconds))


def _fit(
    model: keras.Model,
    data: Any,
    epochs: int,
    steps: int,
    callbacks: Sequence[keras.callbacks.Callback],
) -> None:
    """Train, and restore all variables."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(
        data,
        epochs=epochs,
        steps_per_epoch=steps,
        callbacks=list(callbacks),
        verbose=0,
        shuffle=False,
    )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    model.stop_training = False


class _EpochEnds(keras.callbacks.Callback):
    """Measures the time between epochs; the last of the callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.first = 0.0
        self.seconds: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._last = time.perf_counter()
        self.first = self.first or self._last

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch:
            self.seconds.append(time.perf_counter() - self._last)


class _Clock(keras.callbacks.Callback):
    """Records the time after each call, and stops once there are enough measurements."""

    def __init__(self, least_seconds: float) -> None:
        super().__init__()
        self._least_seconds = least_seconds
        self.times: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.times = [time.perf_counter()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.times.append(time.perf_counter())
        _, first_end, *others = self.times
        self.model.stop_training = (
            len(others) >= _LEAST_CALLS and others[-1] - first_end >= self._least_seconds
        )
