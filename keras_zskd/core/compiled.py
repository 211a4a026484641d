"""Arithmetic of a whole batch as one loop on CPUs."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def compiled_on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of tensors so that XLA makes one loop of it where that pays.

    TensorFlow runs each operation as a pass over the batch of its own; for a few operations on many
    small images the passes cost more than the arithmetic. XLA compiles once for every batch size,
    in a few tenths of a second. The function runs as it is written

    * when it is called eagerly, since a single call does not pay for compiling;
    * where there is a GPU: there Keras compiles the whole step (`jit_compile="auto"`), and compiling
      a part of it would only break set-ups that have no compiler for the GPU.

    Args:
        function: Of tensors, and of Python values that seldom change. Without variables, which XLA
            cannot reach under several replicas, and without random draws, for which XLA ignores
            `keras.utils.set_random_seed`: draw first, and hand over the draws.

    Returns:
        The function with the same arguments and results.

    Example:
        >>> @compiled_on_cpu
        ... def doubled(images):
        ...     return 2 * images
        >>> float(tf.function(doubled)(tf.ones(())))
        2.0
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        as_written = tf.executing_eagerly() or tf.config.list_physical_devices("GPU")
        return (function if as_written else compiled)(*args, **kwargs)

    return run
