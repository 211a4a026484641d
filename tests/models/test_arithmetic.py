"""The arithmetic of networks against products counted by hand."""

import keras
from keras import layers

from keras_zskd.models.arithmetic import forward_flops


def test_convolutions_and_dense_layers():
    pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(pixels)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    # 4x4 positions of 3x3x3x4 products, 2x2x4 inputs of 5 units; two operations each.
    assert forward_flops(keras.Model(pixels, layers.Dense(5)(x))) == 2 * (16 * 108 + 16 * 5)


def test_separable_and_transposed_convolutions():
    pixels = keras.Input((4, 4, 2))
    x = layers.SeparableConv2D(6, 3, padding="same")(pixels)
    x = layers.Conv2DTranspose(3, 2, strides=2)(x)
    # 16 positions of 3x3x2 and 2x6; the transposed kernel meets each of its 16 inputs.
    assert forward_flops(keras.Model(pixels, x)) == 2 * 16 * (18 + 12 + 2 * 2 * 3 * 6)


def test_shared_and_nested_layers_count_for_each_call():
    shared = layers.Dense(4)
    inner = keras.Sequential([keras.Input((4,)), shared])
    values = keras.Input((4,))
    assert forward_flops(keras.Model(values, shared(inner(shared(values))))) == 3 * 2 * 16
