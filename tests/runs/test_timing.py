"""`training_seconds` and `epoch_seconds` measure without changing the model."""

import time

import keras
import numpy as np

import keras_zskd as zskd
from keras_zskd.inputs.source import Arrays
from keras_zskd.runs.timing import epoch_seconds, training_seconds


def test_all_variables_are_restored():
    keras.utils.set_random_seed(0)
    teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    student = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3),
        ]
    )
    distiller = zskd.Distiller(zskd.Teacher(teacher, (0, 1)), student)
    distiller.compile(keras.optimizers.Adam(1e-2))
    distiller.optimizer.build(distiller.trainable_variables)
    variables = [*distiller.variables, *distiller.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    first, later = training_seconds(distiller, zskd.Noise((4,)), 8, 0, steps=2, least_seconds=0.1)
    assert first > later > 0
    assert any("seed" in variable.path for variable in variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_the_end_of_an_epoch_includes_the_callbacks():
    class Slow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            time.sleep(0.05)

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    source = Arrays((np.zeros((8, 4)), np.ones((8, 3))))
    before = [weight.copy() for weight in model.get_weights()]
    start, seconds = epoch_seconds(model, source, 4, 0, 2, [Slow()])
    assert 0.05 < seconds < 1.0
    assert start > 0
    for value, after in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, after)
