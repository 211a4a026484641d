"""`Replicas`: runs a function of tensors on the replicas of this machine, each on its own rows."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.workers import refuse_several_machines


class Replicas:
    """The replicas of a `tf.distribute` strategy on this machine.

    Attributes:
        count: Number of replicas.

    Raises:
        InputError: If the strategy is for several machines.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        refuse_several_machines(strategy)
        self._strategy = strategy
        self.count = strategy.num_replicas_in_sync

    def function(self, function: Callable[..., Any], compiled: bool) -> Callable[..., Any]:
        """Wrap `function` as a `tf.function` that takes arrays or its own results.

        AutoGraph is off, as in Keras: the conversion would take seconds, and the code has none of
        the Python statements that AutoGraph converts.
        """
        if self.count == 1:
            return tf.function(
                function, jit_compile=compiled, reduce_retracing=not compiled, autograph=False
            )
        # XLA cannot run inside `Strategy.run` on several CPUs: it looks up the weights of one
        # device in the memory of another.
        run = tf.function(
            lambda *arguments: self._strategy.run(function, args=arguments),
            reduce_retracing=True,
            autograph=False,
        )

        def split_and_run(*arguments: Any) -> Any:
            return run(*keras.tree.map_structure(self._split, arguments))

        return split_and_run

    def join(self, values: Any) -> np.ndarray:
        """Concatenate the rows of all replicas into one array."""
        parts = self._strategy.experimental_local_results(values)
        return np.asarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)

    def _split(self, array: Any) -> Any:
        """Split the rows of an array equally over the replicas; other values go to each replica."""
        if not isinstance(array, np.ndarray) or not array.ndim:
            return array
        share = len(array) // self.count
        parts = iter(range(self.count))  # Called in order; the index in the context is global.

        def part(_: Any) -> Any:
            number = next(parts)
            return tf.convert_to_tensor(array[number * share : (number + 1) * share])

        return self._strategy.experimental_distribute_values_from_function(part)
