"""Fix the input shape of models that take inputs of any size."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_zskd.core.errors import InputError, first_line, invalid
from keras_zskd.models.graph import inline, share_layer


def check_input_shape(input_shape: Any) -> tuple[int, ...] | None:
    """Return the shape of one input as a tuple, or None if it is not given.

    Raises:
        InputError: If it is not a sequence of positive integers.
    """
    if input_shape is None:
        return None
    is_shape = isinstance(input_shape, Sequence) and not isinstance(input_shape, str)
    if not is_shape or not input_shape or any(not _is_size(size) for size in input_shape):
        raise invalid(
            "input_shape",
            "be positive integers, the shape of one input without the batch, such as (32, 32, 3)",
            input_shape,
        )
    return tuple(int(size) for size in input_shape)


def with_input_shape(model: keras.Model, input_shape: tuple[int, ...]) -> keras.Model:
    """Return the model for inputs of one size, with the layers and weights of `model`.

    Args:
        model: A model with a graph and one input.
        input_shape: Shape of one input, without the batch axis.

    Raises:
        InputError: If the model does not take such inputs.
    """
    known = tuple(model.inputs[0].shape[1:])
    fits = len(known) == len(input_shape) and all(
        size in (None, given) for size, given in zip(known, input_shape, strict=True)
    )
    if not fits:
        raise InputError(
            f"`input_shape` must fit the model. Received: input_shape={input_shape} for "
            f"{model.name!r} with inputs of shape {known}."
        )
    if known == input_shape:
        return model
    try:
        pixels = keras.Input(input_shape)
        fixed = inline(keras.Model(pixels, model(pixels)), share_layer)
    except ValueError as error:  # For example a Dense layer that needs another size.
        raise InputError(
            f"`input_shape` must fit the model. Received: input_shape={input_shape} for "
            f"{model.name!r}. Error of Keras: {first_line(error)}"
        ) from error
    return keras.Model(fixed.inputs[0], fixed.outputs[0], name=model.name)


def _is_size(size: Any) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and size > 0
