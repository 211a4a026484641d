"""Convolutional networks of the forms that tutorials and papers use."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.zoo_teachers.entry import Entry, entries, graph, stack

SHAPE = (16, 16, 3)
_POOL = layers.GlobalAveragePooling2D


def normalized(filters: int, size: int = 3, **settings: Any) -> list[Any]:
    """A convolution without bias, batch normalization, ReLU."""
    convolution = layers.Conv2D(filters, size, padding="same", use_bias=False, **settings)
    return [convolution, layers.BatchNormalization(), layers.ReLU()]


def through(x: Any, parts: list[Any]) -> Any:
    """Apply layers in order."""
    for layer in parts:
        x = layer(x)
    return x


def _residual(x: Any, filters: int, strides: int = 1) -> Any:
    y = through(
        x, [*normalized(filters, strides=strides), layers.Conv2D(filters, 3, padding="same")]
    )
    if strides > 1 or x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, strides=strides)(x)
    return layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))


def _before_activation(x: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same")(x)
    for _ in range(2):
        y = layers.BatchNormalization()(x)
        x = x + layers.Conv2D(8, 3, padding="same")(layers.Activation("relu")(y))
    return _POOL()(x)


def _bottleneck(x: Any) -> Any:
    x = layers.Conv2D(16, 3, padding="same")(x)
    y = through(x, [*normalized(4, 1), *normalized(4), layers.Conv2D(16, 1)])
    return _POOL()(layers.add([x, y]))


def _inverted(x: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(32, 1)(x)))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(y)))
    return _POOL()(x + layers.Conv2D(8, 1)(y))


def _dense_blocks(x: Any) -> Any:
    for _ in range(3):
        x = layers.Concatenate()([x, through(x, normalized(4))])
    return _POOL()(x)


def _inception(x: Any) -> Any:
    branches = [layers.Conv2D(4, size, padding="same", activation="relu")(x) for size in (1, 3, 5)]
    branches.append(layers.Conv2D(4, 1)(layers.MaxPooling2D(3, 1, padding="same")(x)))
    return _POOL()(layers.concatenate(branches))


def _squeeze(x: Any) -> Any:
    x = layers.Conv2D(8, 3, activation="relu")(x)
    gate = layers.Dense(8, "sigmoid")(layers.Dense(8, "relu")(_POOL()(x)))
    return _POOL()(layers.multiply([x, layers.Reshape((1, 1, 8))(gate)]))


def _squeeze_by_convolutions(x: Any) -> Any:
    x = layers.Conv2D(8, 3, activation="swish")(x)
    gate = layers.Conv2D(2, 1, activation="swish")(_POOL(keepdims=True)(x))
    return _POOL()(x * layers.Conv2D(8, 1, activation="hard_sigmoid")(gate))


def _fire(x: Any) -> Any:
    x = layers.Conv2D(4, 1, activation="relu")(x)
    parts = [layers.Conv2D(6, size, padding="same", activation="relu")(x) for size in (1, 3)]
    return _POOL()(layers.Concatenate()(parts))


def _encoder_decoder(x: Any) -> Any:
    small = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    large = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu")(small)
    return _POOL()(layers.Concatenate()([layers.UpSampling2D()(small), large]))


def _shared(x: Any) -> Any:
    convolution = layers.Conv2D(3, 3, padding="same", activation="relu")
    return layers.Flatten()(convolution(convolution(x)))


def _siamese(x: Any) -> Any:
    body = keras.Sequential([keras.Input((16, 8, 3)), layers.Conv2D(4, 3), _POOL()])
    return layers.Concatenate()([body(x[:, :, :8]), body(x[:, :, 8:])])


def _with_ops(x: Any) -> Any:
    x = ops.relu(layers.Conv2D(8, 3)(x - 0.5))
    x = ops.transpose(ops.concatenate([x, -x], axis=-1), (0, 2, 1, 3))
    return ops.mean(x * ops.sigmoid(x), axis=(1, 2))


def _with_split(x: Any) -> Any:
    first, second = ops.split(layers.Conv2D(8, 3)(x), 2, axis=-1)
    return _POOL()(ops.maximum(first, second))


def _pools(x: Any) -> Any:
    x = layers.AveragePooling2D(2)(layers.Conv2D(8, 3, activation="relu")(x))
    return layers.Concatenate()([layers.GlobalMaxPooling2D()(x), _POOL()(x)])


def _padded(x: Any) -> Any:
    x = layers.ZeroPadding2D(2)(layers.Cropping2D(1)(x))
    return layers.Flatten()(layers.MaxPooling2D(4)(layers.Conv2D(6, 3, dilation_rate=2)(x)))


def _nested(depth: int) -> keras.Model:
    body: Any = keras.Sequential([keras.Input(SHAPE), *normalized(6), _POOL()])
    for _ in range(depth):
        pixels = keras.Input(SHAPE)
        body = keras.Model(pixels, body(pixels))
    return stack(SHAPE, [body])


def _activations(name: Any) -> keras.Model:
    make = name if callable(name) else lambda: layers.Activation(name)
    return stack(SHAPE, [layers.Conv2D(6, 3), make(), _POOL(), layers.Dense(6), make()])


def _of_pixels(kind: Any, shape: tuple[int, ...], pool: Any, **settings: Any) -> keras.Model:
    parts = [kind(6, 3, activation="relu", **settings), layers.BatchNormalization(), pool()]
    return stack(shape, parts)


def _bands(count: int) -> keras.Model:
    return stack((12, 12, count), [*normalized(8), _POOL()])


def _all_convolutional(end: str | None) -> keras.Model:
    pixels = keras.Input(SHAPE)
    x = layers.Conv2D(4, 1)(layers.Conv2D(6, 3, activation="relu")(pixels))
    x = _POOL()(x)
    return keras.Model(pixels, layers.Activation(end)(x) if end else x)


def _flat_convolution() -> keras.Model:
    parts = [layers.Conv2D(6, 5, activation="tanh"), _POOL(keepdims=True), layers.Conv2D(4, 1)]
    return keras.Sequential([keras.Input(SHAPE), *parts, layers.Flatten(), layers.Softmax()])


class Subclassed(keras.Model):
    """A model whose `call` consists of layers; `get_config` for loading."""

    def __init__(self, filters: int = 6, deep: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.deep = filters, deep
        self.convolution = layers.Conv2D(filters, 3, activation="relu")
        self.block = keras.Sequential([layers.BatchNormalization(), layers.Dropout(0.2), _POOL()])
        self.head = layers.Dense(4)

    def call(self, x: Any, training: bool = False) -> Any:
        """Logits."""
        x = self.convolution(x)
        x = ops.concatenate([x, -x], axis=-1) if self.deep else x
        return self.head(self.block(x, training=training))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {"filters": self.filters, "deep": self.deep, "name": self.name}


keras.saving.register_keras_serializable(package="zoo")(Subclassed)


def _subclassed(deep: bool) -> keras.Model:
    model = Subclassed(deep=deep)
    model(np.zeros((1, *SHAPE), "float32"))
    return model


def _large(size: int, classes: int) -> keras.Model:
    parts = [*normalized(4, strides=4), *normalized(6, strides=2), _POOL()]
    return stack((size, size, 3), parts, classes)


NETWORKS: list[Entry] = [
    *entries(
        "plain convolutions",
        {
            "lenet": lambda: stack(
                (28, 28, 1),
                [
                    layers.Conv2D(6, 5, activation="tanh"),
                    layers.AveragePooling2D(2),
                    layers.Conv2D(8, 5, activation="tanh"),
                    layers.AveragePooling2D(2),
                    layers.Flatten(),
                    layers.Dense(12, "tanh"),
                ],
                10,
                "softmax",
            ),
            "tutorial": lambda: stack(
                SHAPE,
                [
                    layers.Conv2D(8, 3, activation="relu"),
                    layers.MaxPooling2D(),
                    layers.Dropout(0.25),
                    layers.Flatten(),
                    layers.Dense(16, "relu"),
                    layers.Dropout(0.5),
                ],
                10,
                "softmax",
            ),
            "one_layer": lambda: stack(SHAPE, [layers.Flatten()]),
            "narrow": lambda: stack(SHAPE, [layers.Conv2D(1, 3), layers.Flatten()]),
            "strided": lambda: stack(SHAPE, [layers.Conv2D(6, (3, 5), (2, 1)), layers.Flatten()]),
            "grouped": lambda: stack(
                SHAPE, [layers.Conv2D(8, 3), layers.Conv2D(8, 3, groups=4), _POOL()]
            ),
            "padded": lambda: graph(SHAPE, _padded),
            "rectangular": lambda: stack((8, 20, 1), [layers.Conv2D(4, 3), layers.Flatten()]),
        },
    ),
    *entries(
        "batch normalization",
        {
            "normalized": lambda: stack(SHAPE, [*normalized(8), *normalized(8), _POOL()]),
            "normalized_first": lambda: stack(
                SHAPE, [layers.BatchNormalization(), layers.Conv2D(6, 3), layers.Flatten()]
            ),
            "normalized_without_scale": lambda: stack(
                SHAPE,
                [
                    layers.Conv2D(6, 3),
                    layers.BatchNormalization(scale=False, center=False),
                    _POOL(),
                ],
            ),
        },
    ),
    *entries(
        "residual",
        {
            "residual": lambda: graph(SHAPE, lambda x: _POOL()(_residual(_residual(x, 8), 8, 2))),
            "residual_before_activation": lambda: graph(SHAPE, _before_activation),
            "bottleneck": lambda: graph(SHAPE, _bottleneck),
        },
    ),
    *entries(
        "depthwise",
        {
            "separable": lambda: stack(
                SHAPE, [layers.SeparableConv2D(8, 3, activation="relu"), _POOL()]
            ),
            "inverted_residual": lambda: graph(SHAPE, _inverted),
            "depth_multiplier": lambda: stack(
                SHAPE, [layers.DepthwiseConv2D(3, depth_multiplier=2), layers.Conv2D(8, 1), _POOL()]
            ),
        },
    ),
    *entries(
        "branches",
        {
            "dense_blocks": lambda: graph(SHAPE, _dense_blocks),
            "inception": lambda: graph(SHAPE, _inception),
            "fire": lambda: graph(SHAPE, _fire),
            "encoder_decoder": lambda: graph(SHAPE, _encoder_decoder),
            "two_pools": lambda: graph(SHAPE, _pools),
        },
    ),
    *entries(
        "squeeze and excitation",
        {
            "squeeze_dense": lambda: graph(SHAPE, _squeeze),
            "squeeze_convolutions": lambda: graph(SHAPE, _squeeze_by_convolutions),
        },
    ),
    *entries(
        "shared layers",
        {
            "shared_convolution": lambda: graph(SHAPE, _shared),
            "siamese": lambda: graph(SHAPE, _siamese),
        },
    ),
    *entries(
        "keras.ops",
        {
            "with_ops": lambda: graph(SHAPE, _with_ops),
            "with_split": lambda: graph(SHAPE, _with_split),
        },
    ),
    *entries(
        "nested", {f"nested_{depth}": lambda depth=depth: _nested(depth) for depth in (0, 1, 3)}
    ),
    *entries(
        "subclassed",
        {"subclassed": lambda: _subclassed(False), "subclassed_ops": lambda: _subclassed(True)},
    ),
    *entries(
        "activations",
        {
            f"activation_{name}": lambda name=name: _activations(name)
            for name in ("swish", "gelu", "elu", "selu", "mish", "hard_swish", "softplus", "celu")
        },
    ),
    *entries(
        "activations",
        {
            "activation_prelu": lambda: _activations(layers.PReLU),
            "activation_leaky_relu": lambda: _activations(layers.LeakyReLU),
            "activation_relu6": lambda: _activations(lambda: layers.ReLU(6.0)),
        },
    ),
    *entries(
        "signals (Conv1D)",
        {
            "conv1d": lambda: _of_pixels(layers.Conv1D, (32, 2), layers.GlobalAveragePooling1D),
            "conv1d_causal": lambda: _of_pixels(
                layers.Conv1D, (32, 1), layers.GlobalMaxPooling1D, padding="causal", dilation_rate=2
            ),
            "separable1d": lambda: _of_pixels(layers.SeparableConv1D, (32, 3), layers.Flatten),
        },
    ),
    *entries(
        "volumes (Conv3D)",
        {
            "conv3d": lambda: _of_pixels(
                layers.Conv3D, (6, 8, 8, 1), layers.GlobalAveragePooling3D
            ),
            "conv3d_flat": lambda: stack(
                (4, 8, 8, 3),
                [layers.Conv3D(4, 3), layers.MaxPooling3D((1, 2, 2)), layers.Flatten()],
            ),
        },
    ),
    *entries("bands", {f"bands_{n}": lambda n=n: _bands(n) for n in (2, 4, 13)}),
    *entries(
        "all convolutional",
        {
            "convolutional_logits": lambda: _all_convolutional(None),
            "convolutional_softmax": lambda: _all_convolutional("softmax"),
            "convolutional_flat": _flat_convolution,
        },
    ),
    *entries(
        "many classes",
        {
            "classes_100": lambda: _large(32, 100),
            "classes_1000": lambda: _large(32, 1000),
            "classes_2": lambda: _large(32, 2),
        },
    ),
    *entries(
        "large images",
        {"pixels_224": lambda: _large(224, 10), "pixels_128": lambda: _large(128, 5)},
    ),
]
