"""How many examples and replicas a step has."""

from typing import Any

import tensorflow as tf


def count_everywhere(count: Any) -> tuple[Any, float]:
    """Number of examples over all replicas, and the number of replicas.

    Args:
        count: Examples on this replica, a float scalar.
    """
    context = tf.distribute.get_replica_context()
    if context is None:
        return count, 1.0
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return count, 1.0
    return context.all_reduce(tf.distribute.ReduceOp.SUM, count), float(replicas)
