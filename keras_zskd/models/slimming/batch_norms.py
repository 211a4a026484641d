"""Batch normalization statistics of a network whose weights were changed."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.models.graph import logits_view


def repair_batch_norms(model: keras.Model, images: Any, batch_size: int = 250) -> keras.Model:
    """Set the statistics of all batch normalizations to those of what they receive.

    Layer by layer in the order of the graph, each with the layers before it repaired, in inference
    mode (REPAIR, Jordan et al., ICLR 2023).

    Args:
        model: Changed in place. Without batch normalization nothing happens.
        images: `(N, *input_shape)`.
        batch_size: Images at a time.

    Returns:
        The model.
    """
    view = logits_view(model)
    images = np.asarray(images)
    for layer, received in view.batch_norms:
        before = keras.Model(view.model.inputs[0], received)
        axes = [i for i in range(len(received.shape)) if i != layer.axis % len(received.shape)]

        starts = range(0, len(images), batch_size)
        batches = [images[start : start + batch_size] for start in starts]
        found = []
        for batch in batches:
            seen = tf.cast(before(batch, training=False), tf.float32)
            found.append((tf.reduce_mean(seen, axes), tf.reduce_mean(seen**2, axes)))
        weights = [len(batch) for batch in batches]
        mean, square = np.average(np.array(found, np.float64), axis=0, weights=weights)
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(square - mean**2, 0.0))
    return model
