"""The small residual network used on CIFAR-10 in the literature."""

from typing import Any

import keras
from keras import layers

_WIDTHS = (16, 32, 64)
_BLOCKS = 3


def resnet20(num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 3)) -> keras.Model:
    """ResNet-20 for 32x32 color images.

    A 3x3 convolution with 16 channels; three stages of three basic blocks with 16, 32 and 64
    channels, the second and third starting with stride 2; average pooling; the logits. Every
    convolution is followed by batch normalization. 272,474 trainable parameters for ten classes.

    If a block changes the shape, its shortcut is a 1x1 convolution (option B of the paper). The
    CIFAR-10 networks of the paper pad with zeros instead (option A: 269,722 parameters).

    Args:
        num_classes: Number of classes, at least 1.
        input_shape: Height, width and channels.

    Returns:
        A newly initialized Functional model from pixels in [0, 1] of shape `(N, *input_shape)` to
        logits `(N, num_classes)`.

    Example:
    >>> import math
    >>> from keras_zskd.models import resnet20
    >>> sum(math.prod(weight.shape) for weight in resnet20().trainable_weights)
    272474

    Reference:
        He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (CVPR 2016), section
        4.2.
    """
    pixels = keras.Input(input_shape, name="pixels")
    x = layers.ReLU()(_convolution(pixels, _WIDTHS[0], 3))
    for stage, width in enumerate(_WIDTHS):
        for block in range(_BLOCKS):
            strides = 2 if stage and not block else 1
            y = layers.ReLU()(_convolution(x, width, 3, strides))
            y = _convolution(y, width, 3)
            shortcut = x if strides == 1 else _convolution(x, width, 1, strides)
            x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    # float32 for every dtype policy: logits are compared, and divided by temperatures.
    return keras.Model(
        pixels, layers.Dense(num_classes, dtype="float32", name="logits")(x), name="resnet20"
    )


def _convolution(x: Any, width: int, size: int, strides: int = 1) -> Any:
    x = layers.Conv2D(
        width, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    return layers.BatchNormalization()(x)
