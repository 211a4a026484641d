"""Activations of a classifier: the outputs of its layers with a kernel."""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.keras_internals import nodes_of


def hidden_activations(model: keras.Model) -> dict[str, Any]:
    """Return the symbolic outputs of all layers with a kernel, in order, except the model's output.

    Args:
        model: A flat Functional model.
    """
    return {
        node.operation.name: node.outputs[0]
        for node in nodes_of(model)
        if hasattr(node.operation, "kernel") and node.outputs[0] is not model.outputs[0]
    }


def per_channel(values: Any) -> Any:
    """Average activations `(N, ..., C)` over their positions: `(N, C)` float32."""
    values = tf.cast(values, tf.float32)
    return tf.reduce_mean(values, axis=list(range(1, len(values.shape) - 1)))
