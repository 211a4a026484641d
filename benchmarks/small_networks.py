"""Ten small networks in common styles; each has another structure that `slim` can narrow."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

import keras_zskd as zskd
from keras_zskd.inputs import datasets

_Body = Callable[[Any], Any]


def _classifier(body: _Body, input_shape: tuple[int, ...]) -> keras.Model:
    pixels = keras.Input(input_shape)
    return keras.Model(pixels, layers.Dense(10)(body(pixels)))


def _conv(x: Any, width: int, size: int = 3, strides: int = 1, norm: bool = True) -> Any:
    """Convolution, batch normalization, ReLU."""
    x = layers.Conv2D(width, size, strides, padding="same", use_bias=not norm)(x)
    return layers.ReLU()(layers.BatchNormalization()(x) if norm else x)


def _plain(x: Any) -> Any:
    for width in (16, 32):
        x = layers.MaxPooling2D()(_conv(x, width, norm=False))
    return layers.Dense(64, "relu")(layers.Flatten()(x))


def _plain_with_norms(x: Any) -> Any:
    for width in (16, 32):
        x = layers.MaxPooling2D()(_conv(x, width))
    return layers.Dense(64, "relu")(layers.Flatten()(x))


def _all_convolutions(x: Any) -> Any:
    for width, strides in ((16, 2), (32, 2), (64, 1)):
        x = _conv(x, width, strides=strides)
    return layers.GlobalAveragePooling2D()(x)


def _residual(x: Any) -> Any:
    x = _conv(x, 16, strides=2)
    for width, strides in ((16, 1), (32, 2)):
        short = x if strides == 1 else _projected(x, width, strides)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(_conv(x, width, 3, strides))
        x = layers.ReLU()(layers.Add()([layers.BatchNormalization()(y), short]))
    return layers.GlobalAveragePooling2D()(x)


def _projected(x: Any, width: int, strides: int) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(width, 1, strides, use_bias=False)(x))


def _concatenated(x: Any) -> Any:
    x = _conv(x, 16, strides=2)
    for _ in range(3):
        x = layers.Concatenate()([x, _conv(x, 12)])
    x = layers.MaxPooling2D()(_conv(x, 32, 1))
    return layers.GlobalAveragePooling2D()(x)


def _branches(x: Any) -> Any:
    x = _conv(x, 16, strides=2)
    x = layers.Concatenate()([_conv(x, 8, 1), _conv(x, 16, 3), _conv(_conv(x, 8, 1), 8, 5)])
    return layers.Flatten()(layers.MaxPooling2D(4)(x))


def _depthwise(x: Any) -> Any:
    x = _conv(x, 16, strides=2)
    for width, strides in ((32, 2), (64, 1)):
        x = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)(x)
        x = _conv(layers.ReLU()(layers.BatchNormalization()(x)), width, 1)
    return layers.GlobalAveragePooling2D()(x)


def _separable(x: Any) -> Any:
    x = _conv(x, 16, strides=2, norm=False)
    for width in (32, 64):
        x = layers.SeparableConv2D(width, 3, 2, padding="same", activation="relu")(x)
    return layers.GlobalAveragePooling2D()(x)


def _dense(x: Any) -> Any:
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(128, "relu")(x)
    return x


def _dense_with_norms(x: Any) -> Any:
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Dense(128, use_bias=False)(x)))
    return layers.Dropout(0.2)(x)


_BODIES: dict[str, _Body] = {
    "two convolutions and a dense layer": _plain,
    "the same with batch normalization": _plain_with_norms,
    "strided convolutions, average pooling": _all_convolutions,
    "residual": _residual,
    "densely concatenated": _concatenated,
    "parallel branches": _branches,
    "depthwise and pointwise": _depthwise,
    "separable": _separable,
    "dense": _dense,
    "dense with batch normalization": _dense_with_norms,
}
NAMES = tuple(_BODIES)


def build(name: str, input_shape: tuple[int, ...] = (28, 28, 1)) -> keras.Model:
    """A freshly initialized network of `NAMES`, from images in [0, 1] to ten logits."""
    return _classifier(_BODIES[name], input_shape)


def teacher_of(name: str, dataset: str, directory: pathlib.Path, held_out: int = 0) -> zskd.Teacher:
    """Return a network of `NAMES` as a teacher, trained for three epochs unless its file exists.

    Args:
        name: The network.
        dataset: Its data, a TFDS name of gray images.
        directory: Where its file is.
        held_out: Number of images at the end of the training split that it is not trained on.
    """
    path = directory / f"{name.replace(' ', '_')}.keras"
    if not path.exists():
        images, labels = datasets.load(dataset, "train", (28, 28, 1))
        num_seen = len(images) - held_out
        images, labels = images[:num_seen], labels[:num_seen]
        keras.utils.set_random_seed(1)
        model = build(name)
        decay = keras.optimizers.schedules.CosineDecay(3e-3, 3 * -(-len(images) // 128))
        model.compile(
            keras.optimizers.AdamW(decay, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(images, labels, batch_size=128, epochs=3, verbose=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return zskd.Teacher(str(path), (0.0, 1.0))
