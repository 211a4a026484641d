"""`start_from`: exact where channels are parallel, the teacher itself at full width."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_zskd.core.errors import InputError
from keras_zskd.models import lenet5, lenet5_half, repair_batch_norms, slim, start_from
from keras_zskd.models.slimming.clusters import k_means


def random_weights(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights and statistics of a trained network: none is 0 or 1."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        values = random.normal(0.0, 0.5, variable.shape)
        if "variance" in variable.path or "gamma" in variable.path:
            values = 0.5 + np.abs(values)
        variable.assign(values)
    return model


def outputs(model: keras.Model, seed: int = 1) -> np.ndarray:
    images = np.random.default_rng(seed).uniform(-1, 1, (16, *model.input_shape[1:]))
    return np.asarray(model(images.astype("float32"), training=False))


def plain(width: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(3 * width, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * width, 3),
            layers.LeakyReLU(),
            layers.Flatten(),
            layers.Dense(5 * width, activation="relu"),
            layers.Dense(4),
        ]
    )


def normalized(width: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(3 * width, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(2 * width, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def residual(width: int) -> keras.Model:
    x = inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(3 * width, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(2 * width, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(3 * width, 3, padding="same")(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def joined(width: int) -> keras.Model:
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(3 * width, 3, padding="same", activation="relu")(inputs)
    y = layers.Conv2D(2 * width, 1, activation="tanh")(inputs)
    x = layers.Concatenate()([x, y])
    x = layers.Conv2D(3 * width, 3, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def depthwise(width: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(3 * width, 3, activation="relu"),
            layers.DepthwiseConv2D(3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.SeparableConv2D(2 * width, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(4),
        ]
    )


def grouped(width: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4 * width, 3, activation="relu"),
            layers.Conv2D(6 * width, 3, groups=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
        ]
    )


def signal(width: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((16, 3)),
            layers.Conv1D(4 * width, 5, activation="gelu"),
            layers.LayerNormalization(),
            layers.Conv1DTranspose(3 * width, 3, activation="relu"),
            layers.PReLU(shared_axes=[1]),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


KINDS = (plain, normalized, residual, joined, depthwise, grouped, signal)


def doubled(small: keras.Model, large: keras.Model) -> keras.Model:
    """Give a network of twice the width the function of the small one: each channel comes twice."""
    for one, two in zip(small.layers, large.layers, strict=True):
        is_depthwise = isinstance(one, layers.DepthwiseConv2D)
        arrays = []
        for weight, target in zip(one.weights, two.weights, strict=True):
            array = np.asarray(weight)
            inner = weight.path.rsplit("/", 1)[-1]
            for axis, (size, wanted) in enumerate(zip(array.shape, target.shape, strict=True)):
                if size == wanted:
                    continue
                transposed = isinstance(one, layers.Conv1DTranspose)
                summed = array.ndim - (1 if transposed else 2)
                is_input = axis == summed and inner in ("kernel", "pointwise_kernel")
                array = np.repeat(array, 2, axis) / (2.0 if is_input and not is_depthwise else 1.0)
            arrays.append(array)
        two.set_weights(arrays)
    return large


# Repeating in place keeps the channels of a group together, so that groups fold as well.
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_channels_that_come_twice_are_folded_without_an_error(kind):
    small = random_weights(kind(1))
    large = doubled(small, kind(2))
    np.testing.assert_allclose(outputs(large), outputs(small), rtol=1e-3, atol=1e-4)
    folded = start_from(large, kind(1))
    np.testing.assert_allclose(outputs(folded), outputs(small), rtol=1e-3, atol=1e-4)


def test_parallel_filters_are_folded_without_an_error_where_relu_follows():
    small = random_weights(plain(1))
    large = doubled(small, plain(2))
    for layer, following in (
        (large.layers[0], large.layers[2]),
        (large.layers[2], large.layers[5]),
    ):
        count = layer.filters
        factors = np.random.default_rng(3).uniform(0.2, 5.0, count)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel * factors, bias * factors])
        kernel, bias = following.get_weights()
        tiled = np.tile(factors, kernel.shape[-2] // count)
        following.set_weights([kernel / tiled[:, None], bias])
    np.testing.assert_allclose(outputs(large), outputs(small), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        outputs(start_from(large, plain(1))), outputs(small), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_at_full_width_the_student_is_the_teacher(kind):
    teacher = random_weights(kind(2))
    student = start_from(teacher, slim(teacher, 1.0))
    np.testing.assert_array_equal(outputs(student), outputs(teacher))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_folding_is_the_same_each_time_and_leaves_the_teacher_alone(kind):
    teacher = random_weights(kind(2))
    before = teacher.get_weights()
    one, two = (start_from(teacher, slim(teacher, 0.5)) for _ in range(2))
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_layers_that_keep_the_teachers_width_are_copied():
    teacher = random_weights(lenet5())
    student = start_from(teacher, lenet5_half())
    dense = [layer for layer in teacher.layers if isinstance(layer, layers.Dense)]
    twins = [layer for layer in student.layers if isinstance(layer, layers.Dense)]
    for layer, twin in zip(dense[1:], twins[1:], strict=True):
        for a, b in zip(layer.get_weights(), twin.get_weights(), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-6)


@pytest.mark.parametrize(
    "student",
    [
        lambda: keras.Sequential([keras.Input((8, 8, 2)), layers.Flatten(), layers.Dense(4)]),
        lambda: plain(3),
    ],
    ids=["other layers", "wider"],
)
def test_a_student_that_is_not_a_narrower_teacher_is_refused_and_left_alone(student):
    student = student()
    before = student.get_weights()
    with pytest.raises(InputError, match="Start from random weights"):
        start_from(random_weights(plain(2)), student)
    for a, b in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clusters_are_those_that_are_there():
    random = np.random.default_rng(0)
    centers = 10 * random.normal(size=(5, 3))
    truth = np.arange(40) % 5
    points = centers[truth] + 0.01 * random.normal(size=(40, 3))
    members = k_means(points, np.ones(40), 5)
    assert len(set(zip(truth.tolist(), members.tolist(), strict=True))) == 5


def test_no_cluster_is_empty_where_points_come_often():
    assert sorted(set(k_means(np.ones((7, 2)), np.ones(7), 3).tolist())) == [0, 1, 2]


def test_repaired_statistics_are_those_of_what_the_layers_receive():
    model = random_weights(normalized(2))
    images = np.random.default_rng(5).normal(size=(70, 8, 8, 2)).astype("float32")
    assert repair_batch_norms(model, images, batch_size=32) is model
    for number in (1, 4):
        received = keras.Model(model.inputs[0], model.layers[number - 1].output)(images).numpy()
        norm = model.layers[number]
        np.testing.assert_allclose(norm.moving_mean, received.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(norm.moving_variance, received.var((0, 1, 2)), rtol=1e-4)
