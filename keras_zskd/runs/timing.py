"""How long a training step takes, measured without leaving a trace in what is trained."""

import time
from typing import Any

import keras
import numpy as np

from keras_zskd.inputs.source import Source

_MEASURED_CALLS = 3


def training_seconds(
    model: keras.Model, source: Source, batch_size: int, seed: int, steps: int
) -> tuple[float, float]:
    """Seconds of the first call of a compiled model's train function, and of each later step.

    What is compiled stays compiled; variables get back the values that they had.

    Args:
        model: Compiled.
        source: What it is to be trained on.
        batch_size: Examples in a batch.
        seed: Of the source.
        steps: Of one call.
    """
    clock = _Clock()
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    model.fit(
        source.stream(batch_size, seed),
        epochs=1 + _MEASURED_CALLS,
        steps_per_epoch=steps,
        callbacks=[clock],
        verbose=0,
        shuffle=False,
    )
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    first, *others = clock.seconds
    # The median: other work on the machine comes and goes.
    return first, float(np.median(others)) / steps


class _Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._begun)
