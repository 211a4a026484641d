"""Models that end in probabilities, although none of their layers shows it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd import Teacher, slim
from keras_zskd.models.logits import logits_view
from keras_zskd.models.probabilities import activation_of

layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class _Probabilities(layers.Layer):
    def call(self, x):
        return keras.ops.softmax(x)


def _average(x):
    x = layers.Flatten()(x)
    hidden = [layers.Dense(8, "relu")(x) for _ in range(2)]
    return layers.Average()([layers.Dense(5, "softmax")(each) for each in hidden])


def _wrapped(x):
    x = layers.Dense(8, "relu")(x)
    return layers.GlobalAveragePooling1D()(layers.TimeDistributed(layers.Dense(5, "softmax"))(x))


def _custom(x):
    return _Probabilities()(layers.Dense(5)(layers.Dense(8, "relu")(layers.Flatten()(x))))


def _lambda(x):
    z = layers.Dense(5)(layers.Dense(8, "relu")(layers.Flatten()(x)))
    return layers.Lambda(lambda z: keras.ops.softmax(z), output_shape=(5,))(z)


ENDS = {"average": _average, "wrapped": _wrapped, "custom": _custom, "lambda": _lambda}


def _model(end):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 4))
    return keras.Model(inputs, ENDS[end](inputs))


def _rows():
    return np.random.default_rng(1).normal(size=(4, 6, 4)).astype("float32")


@pytest.mark.parametrize("end", ENDS)
def test_are_converted_to_logits(end):
    model, rows = _model(end), _rows()
    teacher = Teacher(model, (0, 1))
    assert teacher.ends_in == "softmax"
    np.testing.assert_allclose(keras.ops.softmax(teacher(rows)), model(rows), rtol=1e-4)


def test_an_average_of_sigmoids_is_multi_label():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 4))
    x = layers.Flatten()(inputs)
    heads = [layers.Dense(5, "sigmoid")(layers.Dense(8, "relu")(x)) for _ in range(2)]
    model, rows = keras.Model(inputs, layers.Average()(heads)), _rows()
    teacher = Teacher(model, (0, 1))
    assert teacher.is_multi_label
    np.testing.assert_allclose(keras.ops.sigmoid(teacher(rows)), model(rows), rtol=1e-4)


def test_students_are_narrow_and_have_gradients():
    student = slim(Teacher(_model("average"), (0, 1)).prototype, 0.5)
    view = logits_view(student)
    assert view.ends_in == "softmax"
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(view.model(_rows())[:, 0])
    gradients = tape.gradient(loss, student.trainable_weights)
    assert all(np.isfinite(each).all() for each in gradients)
    assert all(np.abs(each).max() > 0 for each in gradients)


@pytest.mark.parametrize("kind", ["constant", "sums", "negative"])
def test_other_outputs_are_logits(kind):
    """Logits that are constant, above 1 in places, or negative in places."""
    end = {
        "constant": lambda z: 0.0 * z + np.float32([0.2, 0.2, 0.6]),
        "sums": lambda z: keras.ops.softmax(z) * 2.0,
        "negative": lambda z: keras.ops.softmax(z) * 3.0 - 2.0 / 3.0,
    }[kind]
    inputs = keras.Input((4,))
    view = logits_view(keras.Model(inputs, end(layers.Dense(3)(inputs))))
    assert view.ends_in == "logits"


def test_outputs_that_nearly_sum_to_1_are_no_softmax():
    inputs = keras.Input((4,))
    outputs = keras.ops.softmax(layers.Dense(3)(inputs)) * 1.001
    assert logits_view(keras.Model(inputs, outputs)).ends_in != "softmax"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.2, 0.8], [1.0, 0.0]], "softmax"),
        ([[0.2, 0.7]], "sigmoid"),
        ([[0.2, 0.0]], None),
        ([[1.5, -0.5]], None),
        ([[0.3], [1.0]], "sigmoid"),
        ([[1.0005]], None),
    ],
)
def test_activation_is_known_by_the_values(scores, expected):
    assert activation_of(np.array(scores)) == expected
