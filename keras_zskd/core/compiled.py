"""Compilation of the arithmetic of a batch into one loop on CPUs."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_zskd.core.processor import has_gpu


def compiled_on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of tensors so that XLA compiles it into one loop where that pays.

    TensorFlow runs each operation as a separate pass over the batch. For a few operations on many
    small images, these passes cost more than the arithmetic. XLA compiles once per batch size, in a
    few tenths of a second. The function is not compiled

    * if it is called eagerly, since a single call does not pay for compilation;
    * if there is a GPU. Keras then compiles the whole step (`jit_compile="auto"`), and compiling a
      part of it would only break setups without a compiler for the GPU.

    Args:
        function: A function of tensors and of Python values that seldom change. It must not use
            variables, which XLA cannot access with several replicas, nor draw random numbers, for
            which XLA ignores `keras.utils.set_random_seed`: draw first and pass the draws.

    Returns:
        A function with the same arguments and results.

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
        as_written = tf.executing_eagerly() or has_gpu()
        return (function if as_written else compiled)(*args, **kwargs)

    return run
