"""The number of training steps per call."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.runs.run import set_steps_at_once


def compiled():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("steps", "expected"), [(144, 8), (8, 8), (141, 3), (12, 6), (7, 7), (4, 4), (11, 1), (1, 1)]
)
def test_the_largest_divisor_of_an_epoch_up_to_eight(steps, expected):
    model = compiled()
    assert set_steps_at_once(model, steps) == model.steps_per_execution == expected


def test_epochs_of_another_length_have_their_number_of_steps():
    model = compiled()
    data = tf.data.Dataset.from_tensors((np.ones((4, 2)), np.ones((4, 1)))).repeat()
    for steps in (4, 6, 8):
        set_steps_at_once(model, steps)
        model.fit(data, steps_per_epoch=steps, epochs=2, verbose=0, shuffle=False)
    assert model.optimizer.iterations == 2 * (4 + 6 + 8)


def test_one_step_on_two_replicas(two_replicas):
    with two_replicas.scope():
        model = compiled()
        assert set_steps_at_once(model, 144) == model.steps_per_execution == 1
