"""Models whose variables belong to a `tf.distribute` strategy, for code that needs plain variables."""

import concurrent.futures
import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.models.graph import clone_layer


def outside_of_strategies(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function of a model to run outside of any strategy, with plain variables.

    A SavedModel of mirrored variables can be written but not executed (TensorFlow 2.21).
    """

    @functools.wraps(function)
    def wrapped(model: keras.Model, *arguments: Any, **settings: Any) -> Any:
        if not (tf.distribute.has_strategy() or is_distributed(model)):
            return function(model, *arguments, **settings)

        def call() -> Any:
            return function(_plain_copy(model), *arguments, **settings)

        # The scope of a strategy is local to its thread.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            return thread.submit(call).result()

    return wrapped


def is_distributed(model: Any) -> bool:
    """Whether a model was built in the scope of a strategy."""
    variables = getattr(model, "variables", ())
    return any(isinstance(v.value, tf.distribute.DistributedValues) for v in variables)


def _plain_copy(model: Any) -> Any:
    if not is_distributed(model):
        return model
    copy = keras.models.clone_model(model, clone_function=clone_layer)
    copy.set_weights(model.get_weights())
    return copy
