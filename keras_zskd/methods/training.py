"""Shared functions of the methods that train with Adam."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.callbacks.held_out_agreement import HeldOutAgreement
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Arrays, num_held_out
from keras_zskd.runs.run import Run


def adam(learning_rate: float, num_steps: int | None = None) -> Any:
    """Return Adam with the learning rate of `cosine`."""
    return keras.optimizers.Adam(cosine(learning_rate, num_steps))


def cosine(learning_rate: float, num_steps: int | None) -> Any:
    """Return a learning rate that decays to 0 along a cosine (Loshchilov and Hutter, 2017).

    Args:
        learning_rate: Learning rate at the first step.
        num_steps: Total steps of the training; None for a constant rate.
    """
    if num_steps is None:
        return learning_rate
    return keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)


class CosineDecay(keras.callbacks.Callback):
    """Decays the learning rate of a `Distiller` to 0 along a cosine (Loshchilov and Hutter, 2017).

    The weight of its hints decays in the same way, if it has any.

    It is a callback instead of a schedule, so that the length of the training is not compiled into
    the step.

    Args:
        learning_rate: Learning rate at the first step.
        num_steps: Total steps of the training.
    """

    def __init__(self, learning_rate: float, num_steps: int):
        super().__init__()
        self._learning_rate, self._num_steps = learning_rate, num_steps

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the next steps; training may resume in the middle of an epoch."""
        # Converted by NumPy: `int` fails on a variable of several replicas (Keras 3.15).
        done = int(self.model.optimizer.iterations.numpy()) / self._num_steps
        share = 0.5 * (1.0 + math.cos(math.pi * done))
        self.model.optimizer.learning_rate = self._learning_rate * share
        if self.model.distillation_losses:
            self.model.feature_scale.assign(share)


def agreements(run: Run, held_out: Mapping[str, np.ndarray]) -> list[HeldOutAgreement]:
    """Return callbacks that measure agreement after each epoch, one per named set of inputs."""
    return [
        HeldOutAgreement(images, run.teacher, name=name)
        for name, images in held_out.items()
        if len(images)
    ]


def compile_distiller(distiller: Distiller, method: Any, steps_per_epoch: int) -> None:
    """Compile for the `epochs` of a method with its `learning_rate` and `decay`."""
    num_steps = method.epochs * steps_per_epoch if method.decay else None
    distiller.compile(adam(method.learning_rate, num_steps), metrics=[TeacherAgreement()])


def fit_distiller(
    run: Run,
    distiller: Distiller,
    seen: Arrays,
    held_out: np.ndarray,
    method: Any,
    name: str = "training",
) -> None:
    """Train for the `epochs` of a method with its `batch_size`; first compile if necessary."""
    if not distiller.compiled:
        compile_distiller(distiller, method, seen.steps(method.batch_size))
    watching = agreements(run, {"held_out_agreement": held_out})
    run.fit(distiller, seen, method.epochs, method.batch_size, name=name, callbacks=watching)


def training_split(run: Run) -> tuple[Arrays, np.ndarray]:
    """Return the labeled training data of a run without its last images, and the last images."""
    images, labels = run.resources.training_data(run.teacher)
    num_seen = len(images) - num_held_out(len(images))
    return Arrays((images[:num_seen], labels[:num_seen])), images[num_seen:]
