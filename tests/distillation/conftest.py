"""Students for the tiny teachers: 8x8x1 to 4 classes."""

import keras
import pytest


@pytest.fixture
def make_student():
    """A function that builds a tiny student; `end` is "logits" or "softmax"."""

    def make(end="logits", batch_norm=False, seed=5, dropout=0.0, num_classes=4, shape=(8, 8, 1)):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input(shape)
        x = keras.layers.Conv2D(3, 3, name="conv")(inputs)
        if batch_norm:
            x = keras.layers.BatchNormalization(name="bn", momentum=0.5)(x)
        x = keras.layers.Flatten(name="flatten")(keras.layers.ReLU(name="relu")(x))
        x = keras.layers.Dense(6, activation="relu", name="hidden")(x)
        x = keras.layers.Dropout(dropout, name="dropout", seed=1)(x) if dropout else x
        activation = "softmax" if end == "softmax" else None
        x = keras.layers.Dense(num_classes, activation=activation, name="head", dtype="float32")(x)
        return keras.Model(inputs, x, name="student")

    return make
