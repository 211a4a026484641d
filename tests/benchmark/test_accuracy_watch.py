"""`AccuracyWatch`: the accuracy of any student, also one with a single output."""

import keras
import numpy as np
import pytest

from keras_zskd.benchmark.accuracy_watch import ACCURACY, AccuracyWatch


@pytest.mark.parametrize(("units", "activation"), [(1, None), (1, "sigmoid"), (2, "softmax")])
def test_the_accuracy_is_that_of_the_predicted_classes(units, activation, make_images):
    images = make_images(64)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(units, activation)]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    scores = model.predict(images, verbose=0)
    middle = 0.5 if activation else 0.0
    labels = scores.argmax(-1) if units > 1 else (scores[:, 0] > middle).astype(int)
    labels[:16] = 1 - labels[:16]
    watch = AccuracyWatch(images, labels)
    history = model.fit(images, np.zeros((64, units)), verbose=0, callbacks=[watch]).history
    assert history[ACCURACY] == [0.75]
