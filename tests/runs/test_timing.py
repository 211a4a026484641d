"""`training_seconds` measures without changing the model."""

import keras
import numpy as np

import keras_zskd as zskd
from keras_zskd.runs.timing import training_seconds


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
    first, later = training_seconds(distiller, zskd.Noise((4,)), batch_size=8, seed=0, steps=2)
    assert first > later > 0
    assert any("seed" in variable.path for variable in variables)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
