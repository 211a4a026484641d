"""What all methods that train with Adam have in common."""

from typing import Any

import keras
import numpy as np

from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.callbacks.held_out_agreement import HeldOutAgreement
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Arrays
from keras_zskd.runs.run import Run


def adam(learning_rate: float, num_steps: int | None = None) -> Any:
    """Adam; over `num_steps` its rate falls to 0 along a cosine (Loshchilov and Hutter, 2017).

    Args:
        learning_rate: At the first step.
        num_steps: All steps of the training; None for a constant rate.
    """
    if num_steps is None:
        return keras.optimizers.Adam(learning_rate)
    decay = keras.optimizers.schedules.CosineDecay(learning_rate, num_steps)
    return keras.optimizers.Adam(decay)


def fit_distiller(
    run: Run, distiller: Distiller, seen: Arrays, held_out: np.ndarray, method: Any
) -> None:
    """Train once, with the `epochs`, `batch_size`, `learning_rate` and `decay` of a method."""
    num_steps = method.epochs * seen.steps(method.batch_size) if method.decay else None
    distiller.compile(adam(method.learning_rate, num_steps), metrics=[TeacherAgreement()])
    watching = [HeldOutAgreement(held_out, run.teacher)] if len(held_out) else []
    run.fit(distiller, seen, method.epochs, method.batch_size, callbacks=watching)
