"""What all methods that train with Adam have in common."""

from typing import Any

import keras


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
