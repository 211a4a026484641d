"""What is not a classifier of continuous inputs, or not a model: one sentence before any work."""

import pathlib
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.zoo_teachers.entry import Entry, entries, stack
from benchmarks.zoo_teachers.networks import SHAPE

_POOL = layers.GlobalAveragePooling2D


def _of_tokens(*parts: Any) -> keras.Model:
    return stack((10,), [layers.Embedding(50, 6), *parts])


def _of_text() -> keras.Model:
    vocabulary = layers.TextVectorization(output_sequence_length=5, vocabulary=["a", "b", "c"])
    text = keras.Input((1,), dtype="string")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(6, 4)(vocabulary(text)))
    return keras.Model(text, layers.Dense(3)(x))


def _compiled(loss: str, units: int) -> keras.Model:
    model = stack((8,), [layers.Dense(6, "relu")], units)
    model.compile("adam", loss)
    return model


def _heads(*sizes: int) -> keras.Model:
    pixels = keras.Input(SHAPE)
    x = _POOL()(layers.Conv2D(6, 3)(pixels))
    return keras.Model(pixels, [layers.Dense(size)(x) for size in sizes])


def _two_inputs() -> keras.Model:
    inputs = [keras.Input((4,)), keras.Input((3,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def _pixelwise() -> keras.Model:
    return keras.Sequential([keras.Input(SHAPE), layers.Conv2D(5, 3, activation="softmax")])


def _int8() -> keras.Model:
    model = stack((8,), [layers.Dense(16, "relu")])
    model.quantize("int8")
    return model


def _not_a_number() -> keras.Model:
    model = stack((8,), [])
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    return model


def _weights_only(model: keras.Model, directory: pathlib.Path) -> str:
    path = directory / "teacher.weights.h5"
    model.save_weights(path)
    return str(path)


def _renamed_weights(model: keras.Model, directory: pathlib.Path) -> str:
    """As older versions of Keras and many repositories name them."""
    return str(pathlib.Path(_weights_only(model, directory)).rename(directory / "best.h5"))


def _architecture_only(model: keras.Model, directory: pathlib.Path) -> str:
    path = directory / "model.json"
    path.write_text(model.to_json(), encoding="utf-8")
    return str(path)


def _text_file(model: keras.Model, directory: pathlib.Path) -> str:
    path = directory / "teacher.keras"
    path.write_text(model.name, encoding="utf-8")
    return str(path)


def _missing(model: keras.Model, directory: pathlib.Path) -> str:
    return str(directory / f"{model.name}.keras")


def _in_memory(model: Any, directory: pathlib.Path) -> Any:
    del directory
    return model


def _small() -> keras.Model:
    return stack(SHAPE, [layers.Conv2D(6, 3), _POOL()])


def _refused(kind: str, builds: dict[str, Any], **settings: Any) -> list[Entry]:
    return entries(kind, builds, refused=True, **settings)


REFUSED: list[Entry] = [
    *_refused(
        "text",
        {
            "tokens": lambda: _of_tokens(layers.GlobalAveragePooling1D()),
            "tokens_lstm": lambda: _of_tokens(layers.LSTM(4)),
            "text": _of_text,
        },
    ),
    *_refused(
        "lookups",
        {
            "hashing": lambda: stack((3,), [layers.Hashing(4)]),
            "discretization": lambda: stack((3,), [layers.Discretization([0.0, 0.5])]),
            "category_encoding": lambda: stack((1,), [layers.CategoryEncoding(4)]),
        },
    ),
    *_refused("quantized by Keras", {"int8": _int8}),
    *_refused(
        "lambdas",
        {
            "lambda_activation": lambda: stack((8,), [layers.Dense(6, activation=lambda x: x * x)]),
            "lambda_layer": lambda: stack((8,), [layers.Lambda(lambda x: x * 2.0)]),
        },
    ),
    *_refused(
        "regressors",
        {
            "mean_squared_error": lambda: _compiled("mse", 1),
            "mean_absolute_error": lambda: _compiled("mae", 3),
            "huber": lambda: _compiled("huber", 2),
        },
    ),
    *_refused(
        "several outputs", {"detector": lambda: _heads(4, 5), "multi_task": lambda: _heads(3, 3, 1)}
    ),
    *_refused("several inputs", {"two_inputs": _two_inputs}),
    *_refused("segmentation", {"pixelwise": _pixelwise}),
    *_refused("weights without a model", {"weights_only": _small}, save=_weights_only),
    *_refused("weights without a model", {"renamed_weights": _small}, save=_renamed_weights),
    *_refused("weights without a model", {"architecture_only": _small}, save=_architecture_only),
    *_refused("broken", {"text_file": _small}, save=_text_file),
    *_refused("broken", {"missing_file": _small}, save=_missing),
    *_refused("broken", {"not_a_number": _not_a_number}),
    *_refused(
        "broken",
        {"not_built": lambda: keras.Sequential([layers.Dense(3)]), "no_model": lambda: object()},
        save=_in_memory,
    ),
]
