"""Ends, names, precisions, preprocessing, files and custom code: what people do to a network."""

import pathlib
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from benchmarks.zoo_teachers.entry import Entry, entries, graph, stack
from benchmarks.zoo_teachers.networks import SHAPE, normalized

_POOL = layers.GlobalAveragePooling2D


def _small(end: Any = None, classes: int = 4, **named: Any) -> keras.Model:
    return stack(SHAPE, [layers.Conv2D(6, 3, activation="relu"), _POOL()], classes, end, **named)


def _with_end(*end: Any) -> keras.Model:
    body = [layers.Conv2D(6, 3, activation="relu"), _POOL(), layers.Dense(4)]
    return keras.Sequential([keras.Input(SHAPE), *body, *end])


def _softmax_by_ops() -> keras.Model:
    model = _small()
    return keras.Model(model.inputs[0], ops.softmax(model.outputs[0]))


def _compiled(loss: str, end: str | None = None, classes: int = 4) -> keras.Model:
    model = _small(end, classes)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def _tempered() -> keras.Model:
    model = _small()
    return keras.Model(model.inputs[0], layers.Softmax()(model.outputs[0] / 2.0))


def _named(name: str, layer: str, of_input: str) -> keras.Model:
    pixels = keras.Input(SHAPE, name=of_input)
    x = layers.Conv2D(6, 3, activation="relu", name=layer)(pixels)
    x = layers.BatchNormalization(name=f"{layer} 2")(x)
    return keras.Model(pixels, layers.Dense(4, name=f"{layer}:3")(_POOL()(x)), name=name)


def _preprocessed(*parts: Any) -> keras.Model:
    return stack(SHAPE, [*parts, *normalized(6), _POOL()])


def _normalization() -> keras.Model:
    layer = layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.04, 0.05, 0.06])
    return _preprocessed(layer)


def _adapted() -> keras.Model:
    layer = layers.Normalization()
    layer.adapt(np.random.default_rng(0).uniform(size=(50, *SHAPE)))
    return _preprocessed(layer)


def _resized() -> keras.Model:
    return stack((20, 20, 3), [layers.Resizing(12, 12), layers.Conv2D(6, 3), _POOL()])


def _of_precision(policy: str) -> keras.Model:
    pixels = keras.Input(SHAPE)
    x = layers.Conv2D(6, 3, activation="relu", dtype=policy)(pixels)
    x = layers.BatchNormalization(dtype=policy)(x)
    return keras.Model(pixels, layers.Dense(4, dtype="float32")(_POOL()(x)))


def _wholly(policy: str) -> keras.Model:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return _small("softmax")
    finally:
        keras.config.set_dtype_policy(before)


def _integer_pixels() -> keras.Model:
    pixels = keras.Input(SHAPE, dtype="uint8")
    x = layers.Conv2D(6, 3)(layers.Rescaling(1 / 255)(pixels))
    return keras.Model(pixels, layers.Dense(4)(_POOL()(x)))


def _channels_first(flat: bool) -> keras.Model:
    first = {"data_format": "channels_first"}
    end = layers.Flatten(**({} if flat else first)) if flat else _POOL(**first)
    parts = [
        layers.Conv2D(6, 3, activation="relu", **first),
        layers.BatchNormalization(axis=1),
        end,
    ]
    return stack((3, 12, 12), parts)


@keras.saving.register_keras_serializable(package="zoo")
class Scaled(layers.Layer):
    """Multiplies each channel by a trained factor."""

    def build(self, shape: Any) -> None:
        """One factor per channel."""
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones", name="factor")

    def call(self, x: Any) -> Any:
        """Of the same shape."""
        return x * self.factor


@keras.saving.register_keras_serializable(package="zoo")
class Block(layers.Layer):
    """Layers in a layer."""

    def __init__(self, filters: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters = filters
        self.convolution = layers.Conv2D(filters, 3, padding="same")
        self.norm = layers.BatchNormalization()

    def build(self, shape: Any) -> None:
        """Build the layers."""
        self.convolution.build(shape)
        self.norm.build((*shape[:-1], self.filters))

    def call(self, x: Any, training: bool = False) -> Any:
        """`(N, H, W, filters)`."""
        return ops.relu(self.norm(self.convolution(x), training=training))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable(package="zoo")
class CosineHead(layers.Layer):
    """Logits as scaled cosines of features and trained vectors."""

    def build(self, shape: Any) -> None:
        """The vectors."""
        self.vectors = self.add_weight(shape=(shape[-1], 4), name="vectors")

    def call(self, x: Any) -> Any:
        """`(N, 4)`."""
        return 8.0 * ops.matmul(ops.normalize(x), ops.normalize(self.vectors, axis=0))


@keras.saving.register_keras_serializable(package="zoo")
def squared_relu(x: Any) -> Any:
    """ReLU, squared."""
    return ops.square(ops.relu(x))


@keras.saving.register_keras_serializable(package="zoo")
class OwnDense(layers.Dense):
    """A subclass of a layer of Keras that changes nothing."""


def _as_h5(model: keras.Model, directory: pathlib.Path) -> str:
    path = directory / "teacher.h5"
    model.save(path)
    return str(path)


def _with_odd_path(model: keras.Model, directory: pathlib.Path) -> str:
    path = directory / "my first\nmodel é 猫.keras"
    model.save(path)
    return str(path)


def _in_memory(model: Any, directory: pathlib.Path) -> Any:
    del directory
    return model


FORMS: list[Entry] = [
    *entries(
        "ends",
        {
            "softmax": lambda: _small("softmax"),
            "softmax_layer": lambda: _with_end(layers.Softmax()),
            "softmax_by_ops": _softmax_by_ops,
            "softmax_at_temperature": _tempered,
            "softmax_and_reshape": lambda: _with_end(layers.Softmax(), layers.Reshape((4,))),
            "without_bias": lambda: keras.Sequential(
                [keras.Input(SHAPE), layers.Flatten(), layers.Dense(4, use_bias=False)]
            ),
            "normalized_logits": lambda: _with_end(layers.BatchNormalization()),
        },
    ),
    *entries(
        "log-softmax",
        {
            "log_softmax": lambda: _small("log_softmax"),
            "log_softmax_layer": lambda: _with_end(layers.Activation("log_softmax")),
        },
    ),
    *entries(
        "ReLU on the logits",
        {"relu_logits": lambda: _small("relu"), "relu_layer": lambda: _with_end(layers.ReLU())},
    ),
    *entries(
        "one unit",
        {
            "one_sigmoid": lambda: _compiled("binary_crossentropy", "sigmoid", 1),
            "one_logit": lambda: _small(None, 1),
            # With few units, an untrained student may be constant, which has no int16x8 form.
            "one_sigmoid_layer": lambda: stack(
                SHAPE, [layers.Flatten(), layers.Dense(32, "relu")], 1, "sigmoid"
            ),
        },
    ),
    *entries(
        "multi-label",
        {
            "several_sigmoids": lambda: _small("sigmoid"),
            "several_logits": lambda: _compiled("binary_crossentropy", None, 4),
            "two_labels": lambda: _compiled("binary_crossentropy", "sigmoid", 2),
        },
    ),
    *entries(
        "compiled",
        {
            "sparse_loss": lambda: _compiled("sparse_categorical_crossentropy", "softmax"),
            "focal_loss": lambda: _compiled("categorical_focal_crossentropy", "softmax"),
            "hinge_loss": lambda: _compiled("categorical_hinge"),
        },
    ),
    *entries(
        "odd names",
        {
            "name_with_newline": lambda: _named("a\nmodel", "first\nlayer", "the\ninput"),
            "name_with_spaces": lambda: _named("my model", "conv 1", "input image"),
            "name_in_unicode": lambda: _named("modèle 猫", "слой", "画像"),
            "name_with_symbols": lambda: _named("m:0!?*", "conv(3x3)", "x.y"),
        },
    ),
    *entries("odd paths", {"odd_path": lambda: _small("softmax")}, save=_with_odd_path),
    *entries(
        "preprocessing",
        {
            "rescaling": lambda: _preprocessed(layers.Rescaling(1 / 255)),
            "rescaling_offset": lambda: _preprocessed(layers.Rescaling(1 / 127.5, offset=-1)),
            "normalization": _normalization,
            "adapted": _adapted,
        },
        settings={},
    ),
    *entries(
        "augmentation",
        {
            "random_flip": lambda: _preprocessed(layers.RandomFlip(), layers.RandomRotation(0.1)),
            "random_colors": lambda: _preprocessed(
                layers.RandomContrast(0.2), layers.RandomZoom(0.1)
            ),
            "random_crop": lambda: stack(
                (16, 16, 3), [layers.RandomCrop(12, 12), layers.Conv2D(6, 3), _POOL()]
            ),
            "noise_and_dropout": lambda: _preprocessed(
                layers.GaussianNoise(0.1), layers.SpatialDropout2D(0.1)
            ),
            "resizing": _resized,
            "center_crop": lambda: stack(
                (16, 16, 3), [layers.CenterCrop(8, 8), layers.Conv2D(6, 3), _POOL()]
            ),
        },
    ),
    *entries(
        "mixed precision",
        {
            "mixed_float16": lambda: _of_precision("mixed_float16"),
            "mixed_bfloat16": lambda: _of_precision("mixed_bfloat16"),
            "float16": lambda: _wholly("float16"),
            "float64": lambda: _wholly("float64"),
            "mixed_everywhere": lambda: _wholly("mixed_float16"),
            "integer_pixels": _integer_pixels,
        },
    ),
    *entries(
        "channels first",
        {
            "channels_first": lambda: _channels_first(False),
            "channels_first_flat": lambda: _channels_first(True),
        },
    ),
    *entries(
        "custom layers",
        {
            "custom_layer": lambda: _preprocessed(layers.Conv2D(6, 3), Scaled()),
            "custom_block": lambda: stack(SHAPE, [Block(6), _POOL()]),
            "custom_dense": lambda: keras.Sequential(
                [keras.Input(SHAPE), layers.Conv2D(6, 3), _POOL(), OwnDense(6, "relu"), OwnDense(4)]
            ),
            "custom_head": lambda: keras.Sequential(
                [keras.Input(SHAPE), layers.Conv2D(6, 3, activation="relu"), _POOL(), CosineHead()]
            ),
            "custom_activation": lambda: stack(
                SHAPE, [layers.Conv2D(6, 3, activation=squared_relu), _POOL()]
            ),
        },
    ),
    *entries(
        "constraints and regularizers",
        {
            "regularized": lambda: stack(
                SHAPE,
                [
                    layers.Conv2D(6, 3, kernel_regularizer="l2", kernel_constraint="max_norm"),
                    layers.ActivityRegularization(1e-3),
                    layers.Flatten(),
                ],
            ),
            "frozen": lambda: graph(
                SHAPE,
                lambda x: _POOL()(
                    layers.BatchNormalization(trainable=False)(layers.Conv2D(6, 3)(x))
                ),
            ),
        },
    ),
    *entries(
        "legacy files",
        {"h5": lambda: _small("softmax"), "h5_normalized": lambda: _preprocessed()},
        save=_as_h5,
    ),
    *entries(
        "several teachers",
        {
            "three_clients": lambda: [_small("softmax", name=f"client_{i}") for i in range(3)],
            "two_architectures": lambda: [_small(), stack(SHAPE, [layers.Flatten()])],
        },
        save=_in_memory,
    ),
]
