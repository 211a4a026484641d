"""Training steps over several replicas: example counts, random draws, batch statistics."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.keras_internals import flat_layers


def count_everywhere(count: Any) -> tuple[Any, float]:
    """Return the number of examples over all replicas, and the number of replicas.

    Args:
        count: Number of examples on this replica, a float scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        return count, 1.0
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return count, 1.0
    return context.all_reduce(tf.distribute.ReduceOp.SUM, count), float(replicas)


def draw_seed(seed: int, number: int, step: Any) -> Any:
    """Return the seed `(2,)` of one of the draws of a step on this replica.

    Args:
        seed: Seed of the training.
        number: Index of the draw within a step.
        step: Index of the step, an integer or a variable.
    """
    context = tf.distribute.get_replica_context()
    replica = 0 if context is None else context.replica_id_in_sync_group
    key = tf.constant([seed, number], tf.int64)
    for fact in (step, replica):
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(fact, tf.int64))
    return key


def synchronized(function: Callable[[Any], Any], model: keras.Model) -> Callable[[Any], Any]:
    """Wrap `function` so that the batch statistics of a model are over all replicas.

    Keras sums values and counts over the replicas. Each example has the same weight, even if one
    replica has more examples than another, or none.

    Args:
        function: Function that traces or runs training steps.
        model: Model whose `BatchNormalization` layers are synchronized, in nested models too.
            Subclasses of the layer are left out, since they may compute something else.
    """
    norms = [
        layer
        for layer in flat_layers(model)
        if type(layer) is keras.layers.BatchNormalization and not layer.synchronized
    ]

    def run(iterator: Any) -> Any:
        # Set during steps only, because a callback may save the model in between.
        for norm in norms:
            norm.synchronized = True
        try:
            return function(iterator)
        finally:
            for norm in norms:
                norm.synchronized = False

    return run
