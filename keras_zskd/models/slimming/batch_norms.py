"""`repair_batch_norms`: the statistics of batch normalization, estimated anew from pictures."""

from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import inline, share_layer


def repair_batch_norms(student: keras.Model, images: Any, batch_size: int = 250) -> keras.Model:
    """Set the moving statistics of each batch normalization to those of its input over `images`.

    In the order of the network, so that each layer sees what the repaired ones before it hand on in
    inference: mean `E[x]` and variance `E[x^2] - E[x]^2` over all images and pixels, whatever the
    batch size. A network of `n` such layers is run `n` times.

    Args:
        student: A Functional or Sequential model with one input.
        images: `(N, ...)` in the student's input range, at least one.
        batch_size: Images at once, at least 1.

    Returns:
        `student`, with new statistics; one without batch normalization is not changed.

    Raises:
        InputError: If there is no image, or `batch_size` is below 1.

    Example:
    >>> import numpy as np
    >>> from keras_zskd.models import alexnet, repair_batch_norms
    >>> student = repair_batch_norms(alexnet(), np.random.uniform(size=(8, 32, 32, 3)))
    """
    if len(images) == 0:
        raise InputError(
            "`images` must hold at least one image. Received: none. Pass some thousands."
        )
    if batch_size < 1:
        raise InputError(
            f"`batch_size` must be at least 1. Received: batch_size={batch_size}. Leave it out."
        )
    fed: dict[keras.layers.BatchNormalization, list[Any]] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.BatchNormalization):
            fed.setdefault(layer, []).append(args[0])
        return layer(*args, **kwargs)

    flat = inline(student, share_layer)
    flat = keras.models.clone_model(flat, clone_function=share_layer, call_function=call)
    for norm, tensors in fed.items():
        mean, variance = _moments(keras.Model(flat.inputs, tensors), norm.axis, images, batch_size)
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return student


def _moments(
    view: keras.Model, axis: int, images: Any, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel over all that a view puts out."""
    count, total, squares = 0, 0.0, 0.0
    for begin in range(0, len(images), batch_size):
        outputs = view.predict_on_batch(np.asarray(images[begin : begin + batch_size]))
        for output in keras.tree.flatten(outputs):
            values = np.moveaxis(np.asarray(output, "float64"), axis, -1)
            values = values.reshape(-1, values.shape[-1])
            count += len(values)
            total = total + values.sum(0)
            squares = squares + (values**2).sum(0)
    mean = total / count
    return np.asarray(mean), np.maximum(squares / count - mean**2, 0)
