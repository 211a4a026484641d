"""Networks that only the benchmarks need."""

from typing import Any

import keras
from keras import layers


def resnet18(num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 3)) -> keras.Model:
    """ResNet-18 for small images: a 3x3 stem without pooling, then widths 64, 128, 256, 512.

    Two basic blocks per width; 1x1 convolutions where a block changes the shape. Random weights.

    Reference:
        He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition" (CVPR 2016).
    """
    pixels = keras.Input(input_shape)
    x = layers.ReLU()(_convolution(pixels, 64, 3, 1))
    for width, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            short = x
            if stride != 1 or x.shape[-1] != width:
                short = _convolution(x, width, 1, stride)
            y = layers.ReLU()(_convolution(x, width, 3, stride))
            x = layers.ReLU()(layers.Add()([_convolution(y, width, 3, 1), short]))
    logits = layers.Dense(num_classes)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(pixels, logits, name="resnet18")


def six_convolutions(
    num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 3)
) -> keras.Model:
    """A small convolutional network with batch normalization, as in tutorials for CIFAR-10.

    Pairs of 3x3 convolutions with 32, 64 and 96 channels, each followed by batch normalization and
    ReLU; 2x2 pooling after each pair; a Dense layer with 128 units, dropout, and logits.
    """
    pixels = keras.Input(input_shape)
    x = pixels
    for width in (32, 64, 96):
        for _ in range(2):
            x = layers.ReLU()(_convolution(x, width, 3, 1))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    logits = layers.Dense(num_classes)(layers.Dropout(0.3)(x))
    return keras.Model(pixels, logits, name="six_convolutions")


def _convolution(x: Any, width: int, size: int, stride: int) -> Any:
    x = layers.Conv2D(width, size, strides=stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization()(x)
