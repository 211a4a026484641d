"""Students for the tiny teachers: 8x8x1 to 4 classes."""

import keras
import numpy as np
import pytest
import scipy.special

from keras_zskd.distillation.augmentation import Augmentation
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.models.teacher import Teacher


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


@pytest.fixture
def divergence():
    """The distillation loss of each example, computed independently from logits."""

    def of(teacher, student, temperature):
        p, q = (
            scipy.special.log_softmax(np.asarray(logits, "float64") / temperature, axis=-1)
            for logits in (teacher, student)
        )
        return temperature**2 * (np.exp(p) * (p - q)).sum(-1)

    return of


@keras.saving.register_keras_serializable(package="test_distiller")
class Invert(Augmentation):
    """A deterministic augmentation, so that the inputs of the teacher are known."""

    def __call__(self, images, input_range, seed):
        low, high = input_range
        return low + high - images


@pytest.fixture
def invert():
    return Invert()


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("batch_norm"), (0, 1))


@pytest.fixture
def make_distiller(teacher, make_student):
    """A function that builds a compiled Distiller with stochastic gradient descent."""

    def make(student=None, optimizer=None, compile_options=None, **options):
        options = {"temperature": 3.0, **options}
        distiller = Distiller(teacher, student or make_student(), **options)
        optimizer = optimizer or keras.optimizers.SGD(0.1)
        distiller.compile(optimizer=optimizer, **(compile_options or {}))
        return distiller

    return make
