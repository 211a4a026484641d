"""How far the inputs of a batch normalization layer are from those it was trained on."""

from typing import Any

import keras
import numpy as np


def distance_from_statistics(
    layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray
) -> float:
    """Compute the KL divergence `KL(batch || moving statistics)`, in nats.

    Both are treated as normal distributions. The result is the mean over the channels.

    Args:
        layer: A trained layer with C channels.
        mean: `(C,)`, mean of a batch of inputs of the layer.
        variance: `(C,)`, variance of the same batch.
    """
    stored: Any = np.asarray(layer.moving_variance) + layer.epsilon
    ratio = (np.maximum(variance, 0.0) + layer.epsilon) / stored
    shift = (mean - np.asarray(layer.moving_mean)) ** 2 / stored
    return float(np.mean(0.5 * (ratio - 1.0 - np.log(ratio) + shift)))
