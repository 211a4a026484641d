"""The small AlexNet that the ZSKD paper distills on CIFAR-10, and its half."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

_ALEXNET = ((48, 128, 192, 192, 128), (512, 256))
_ALEXNET_HALF = ((24, 64, 96, 96, 64), (256, 128))


@keras.saving.register_keras_serializable(package="keras_zskd")
class LocalResponseNormalization(layers.Layer):
    """Divides each activation by the energy of its neighbors along the channel axis.

    `y[..., c] = x[..., c] / (bias + alpha * sum(x[..., c - r : c + r + 1] ** 2)) ** beta` with
    `r = depth_radius` and `x` of shape `(N, H, W, C)`. The layer has no weights.

    Args:
        depth_radius: Number of neighbors on either side, at least 0.
        bias: Positive offset.
        alpha: Positive scale of the sum; not divided by the size of the window.
        beta: Exponent.
        **kwargs: Arguments of `keras.layers.Layer`.

    Reference:
        Krizhevsky, Sutskever, Hinton: "ImageNet Classification with Deep Convolutional Neural
        Networks" (NeurIPS 2012), section 3.3.
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 1.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    def call(self, inputs: Any) -> Any:
        """Normalize feature maps `(N, H, W, C)`; the shape does not change."""
        # LiteRT cannot compute tf.nn.local_response_normalization, tf.square or tf.pow in integers.
        # The gradient of the first also takes several times as long on a CPU.
        x = tf.cast(inputs, tf.float32)  # For every dtype policy: squares overflow float16.
        # 1 where two channels are neighbors: the sum over the window is a 1x1 convolution.
        below = np.tri(x.shape[-1], k=self.depth_radius)
        kernel = self.alpha * below * below.T
        energy = tf.nn.conv2d(x * x, kernel[np.newaxis, np.newaxis], 1, "VALID") + self.bias
        return tf.cast(x * tf.exp(-self.beta * tf.math.log(energy)), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            **super().get_config(),
            "depth_radius": self.depth_radius,
            "bias": self.bias,
            "alpha": self.alpha,
            "beta": self.beta,
        }


def alexnet(num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 3)) -> keras.Model:
    """The AlexNet of the ZSKD paper, for 32x32 color images.

    Five convolutions (48, 128, 192, 192, 128), each followed by ReLU, local response normalization
    (the first two), 3x3/2 max pooling (the first two and the last) and batch normalization, in that
    order; then dense layers of 512 and 256 units, each followed by ReLU, dropout 0.5 and batch
    normalization; then the logits.

    The published size, 1,659,178 parameters for ten classes, counts the trainable weights: kernels,
    biases, and the gamma and beta of the seven batch normalization layers. `model.count_params()`
    also counts their moving means and variances, another 2,912 numbers.

    Args:
        num_classes: Number of classes, at least 1.
        input_shape: Height, width and channels.

    Returns:
        A newly initialized Functional model from pixels in [0, 1] of shape `(N, *input_shape)` to
        logits `(N, num_classes)`.

    Example:
    >>> import math
    >>> from keras_zskd.models import alexnet
    >>> sum(math.prod(weight.shape) for weight in alexnet().trainable_weights)
    1659178

    Reference:
        Nayak, Mopuri, Shaj, Babu, Chakraborty: "Zero-Shot Knowledge Distillation in Deep Networks"
        (ICML 2019), official code, `model_alex_full.py`.
    """
    return _alexnet(*_ALEXNET, num_classes, input_shape, "alexnet")


def alexnet_half(num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 3)) -> keras.Model:
    """The student of `alexnet`: half the channels and units in every layer.

    417,434 parameters for ten classes, counted as in `alexnet`; equal to `slim(alexnet(), 0.5)`.

    Args:
        num_classes: Number of classes, at least 1.
        input_shape: Height, width and channels.

    Returns:
        A newly initialized Functional model from pixels in [0, 1] to logits `(N, num_classes)`.
    """
    return _alexnet(*_ALEXNET_HALF, num_classes, input_shape, "alexnet_half")


def _alexnet(
    filters: tuple[int, ...],
    units: tuple[int, ...],
    num_classes: int,
    input_shape: tuple[int, ...],
    name: str,
) -> keras.Model:
    def weights(bias: float) -> dict[str, Any]:
        return {
            "kernel_initializer": keras.initializers.RandomNormal(stddev=0.01),
            "bias_initializer": keras.initializers.Constant(bias) if bias else "zeros",
        }

    def batch_norm(name: str) -> layers.Layer:
        # Momentum 0.99, as in Keras. The released code seems to use 0.999, as in TensorFlow 1. With
        # that, fewer than 5,000 training steps would leave a trace of the initial statistics.
        return layers.BatchNormalization(epsilon=1e-3, name=name)

    pixels = keras.Input(input_shape, name="pixels")
    x = pixels
    # Kernel size, initial bias, local response normalization, pooling.
    plan = (
        (5, 0, True, True),
        (5, 1, True, True),
        (3, 0, False, False),
        (3, 1, False, False),
        (3, 1, False, True),
    )
    for i, (channels, (kernel, bias, normalize, pool)) in enumerate(
        zip(filters, plan, strict=True), start=1
    ):
        x = layers.Conv2D(
            channels, kernel, padding="same", activation="relu", name=f"conv{i}", **weights(bias)
        )(x)
        if normalize:
            x = LocalResponseNormalization(name=f"lrn{i}")(x)
        if pool:
            x = layers.MaxPooling2D(3, 2, name=f"pool{i}")(x)
        x = batch_norm(f"bn{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, size in enumerate(units, start=1):
        x = layers.Dense(size, activation="relu", name=f"dense{i}", **weights(0))(x)
        x = layers.Dropout(0.5, name=f"dropout{i}")(x)
        x = batch_norm(f"bn{len(filters) + i}")(x)
    # float32 for every dtype policy: logits are compared, and divided by temperatures.
    logits = layers.Dense(num_classes, dtype="float32", name="logits", **weights(0))(x)
    return keras.Model(pixels, logits, name=name)
