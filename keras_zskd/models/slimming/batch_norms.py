"""Moving statistics of batch normalization: estimated from images, and how fast they change."""

from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.keras_internals import flat_layers
from keras_zskd.models.graph import inline, share_layer


def repair_batch_norms(student: keras.Model, images: Any, batch_size: int = 250) -> keras.Model:
    """Set the moving statistics of each batch normalization to those of its input over `images`.

    The mean is `E[x]` and the variance `E[x^2] - E[x]^2` over all images and pixels, independent of
    the batch size. Layers are processed in the order of the network, in inference mode, so that the
    input of each comes from repaired layers. A network with `n` such layers is run `n` times.

    Args:
        student: A Functional or Sequential model with one input.
        images: `(N, ...)` in the student's input range, at least one.
        batch_size: Number of images per batch, at least 1.

    Returns:
        `student` with new statistics; unchanged if it has no batch normalization layers.

    Raises:
        InputError: If there are no images or `batch_size` is below 1.

    Example:
    >>> import numpy as np
    >>> from keras_zskd.models import alexnet, repair_batch_norms
    >>> student = repair_batch_norms(alexnet(), np.random.uniform(size=(8, 32, 32, 3)))
    """
    if len(images) == 0:
        raise InputError(
            "`images` must hold at least one image. Received: no images. Pass some thousands."
        )
    if batch_size < 1:
        raise invalid("batch_size", "be at least 1", batch_size)
    fed: dict[keras.layers.BatchNormalization, list[Any]] = {}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.BatchNormalization):
            fed.setdefault(layer, []).append(args[0])
        return layer(*args, **kwargs)

    flat = inline(student, share_layer)
    flat = keras.models.clone_model(flat, clone_function=share_layer, call_function=call)
    for norm, tensors in fed.items():
        mean, variance = _moments(
            keras.Model(flat.inputs[0], tensors), norm.axis, images, batch_size
        )
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(variance)
    return student


def _moments(
    view: keras.Model, axis: int, images: Any, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and variance per channel over all outputs of a model."""
    count, total, squares = 0, 0.0, 0.0
    for begin in range(0, len(images), batch_size):
        # Eagerly: each view is used for only a few batches, so tracing would not pay off.
        outputs = view(np.asarray(images[begin : begin + batch_size]), training=False)
        for output in keras.tree.flatten(outputs):
            values = np.moveaxis(np.asarray(output, "float64"), axis, -1)
            values = values.reshape(-1, values.shape[-1])
            count += len(values)
            total = total + values.sum(0)
            squares = squares + (values**2).sum(0)
    mean = total / count
    return np.asarray(mean), np.maximum(squares / count - mean**2, 0)


def limit_momentum(model: keras.Model, largest: float = 0.99) -> keras.Model:
    """Limit the momentum of all batch normalization layers; returns the model.

    With a momentum `m`, the moving statistics are those of the last `1 / (1 - m)` steps, and the
    initial ones keep a weight of `m ** steps`. Some architectures were designed for long trainings:
    with the 0.999 of MobileNetV2, the initial variances of 1 still dominate after 4,000 steps, and
    the model predicts the same class for all inputs.

    Args:
        model: A model.
        largest: Largest momentum; the default is that of Keras.
    """
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, largest)
    return model
