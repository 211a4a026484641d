"""`Replicas`: runs a function of tensors on the replicas of this worker, each on its own rows."""

import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Replicas:
    """The replicas of a `tf.distribute` strategy that this process holds.

    Synthesis needs no collective operation, so each worker runs on its own replicas, independent of
    the others. The list of workers is read from the strategy or, without a multi-worker strategy,
    from `TF_CONFIG` if it is set.

    Attributes:
        count: Number of replicas in this process.
        worker: Index of this worker, from 0.
        num_workers: Number of workers.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        resolver: Any = getattr(strategy, "cluster_resolver", None)
        is_of_workers = resolver is not None
        if not is_of_workers and "TF_CONFIG" in os.environ:
            resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        cluster = resolver.cluster_spec().as_dict() if resolver is not None else {}
        workers = [task for kind in ("chief", "worker") for task in cluster.get(kind, [])]
        self.num_workers = max(1, len(workers))
        self.worker = 0
        if self.num_workers > 1:
            is_after_chief = resolver.task_type == "worker" and "chief" in cluster
            self.worker = int(resolver.task_id) + int(is_after_chief)
        replicas = strategy.num_replicas_in_sync
        self.count = max(1, replicas // self.num_workers) if is_of_workers else replicas

    def function(self, function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
        """Wrap `function` as a `tf.function` that takes arrays or its own results."""
        if self.count == 1:
            return tf.function(function, jit_compile=compiled, reduce_retracing=not compiled)
        # XLA cannot run inside `Strategy.run` on several CPUs: it looks up the weights of one in
        # the memory of another.
        run = tf.function(
            lambda *arguments: self._strategy.run(function, args=arguments), reduce_retracing=True
        )

        def split_and_run(*arguments: Any) -> Any:
            return run(*keras.tree.map_structure(self._split, arguments))

        return split_and_run

    def join(self, values: Any) -> np.ndarray:
        """Concatenate the rows of all replicas to one array."""
        parts = self._strategy.experimental_local_results(values)
        return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)

    def _split(self, array: Any) -> Any:
        """Split the rows of an array equally over the replicas; anything else goes to each."""
        if not isinstance(array, np.ndarray) or not array.ndim:
            return array
        share = len(array) // self.count
        parts = iter(range(self.count))  # Called in order; the index in the context is global.

        def part(_: Any) -> Any:
            number = next(parts)
            return tf.convert_to_tensor(array[number * share : (number + 1) * share])

        return self._strategy.experimental_distribute_values_from_function(part)
