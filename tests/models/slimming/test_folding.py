import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import output_of
from keras_zskd.models import alexnet, alexnet_half, lenet5, lenet5_half, slim, start_from
from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.aligned import aligned_layers
from keras_zskd.models.slimming.folding import Folding


def _plain(x, n):
    x = layers.Conv2D(3 * n, 3, activation="relu")(x)
    return layers.Conv2D(4 * n, 3, activation="leaky_relu")(layers.MaxPooling2D()(x))


def _batch_norm(x, n):
    for width in (3, 4):
        x = layers.BatchNormalization()(layers.Conv2D(width * n, 3, use_bias=width == 3)(x))
        x = layers.ReLU()(x)
    return x


def _batch_norm_last(x, n):
    return layers.BatchNormalization()(layers.Conv2D(3 * n, 3, activation="relu")(x))


def _residual(x, n):
    x = layers.Conv2D(3 * n, 3, padding="same")(x)
    y = layers.Conv2D(2 * n, 3, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(3 * n, 3, padding="same")(y)])
    return layers.GlobalAveragePooling2D()(layers.ReLU()(x))


def _concatenation(x, n):
    x = layers.Concatenate()([layers.Conv2D(3 * n, 1)(x), layers.Conv2D(2 * n, 1)(x)])
    return layers.Conv2D(4 * n, 3)(layers.ReLU()(x))


def _added_to_a_concatenation(x, n):
    y = layers.Concatenate()([layers.Conv2D(3 * n, 1)(x), layers.Conv2D(2 * n, 1)(x)])
    return layers.ReLU()(layers.Add()([y, layers.Conv2D(5 * n, 1)(x)]))


def _depthwise(x, n):
    x = layers.Conv2D(3 * n, 1, activation="relu")(x)
    x = layers.DepthwiseConv2D(3, activation="relu")(x)
    return layers.Conv2D(2 * n, 1)(layers.Conv2D(3 * n, 3, groups=3 * n)(x))


def _separable(x, n):
    x = layers.Conv2D(3 * n, 3, activation="relu")(x)
    return layers.SeparableConv2D(4 * n, 3, depth_multiplier=2, activation="relu")(x)


def _transposed(x, n):
    return layers.Conv2DTranspose(4 * n, 3, activation="relu")(layers.Conv2D(3 * n, 3)(x))


def _tanh(x, n):
    return layers.Conv2D(4 * n, 3, activation="gelu")(layers.Conv2D(3 * n, 3, activation="tanh")(x))


def _groups(x, n):
    x = layers.Conv2D(6 * n, 1, activation="relu")(x)
    return layers.GroupNormalization(2)(layers.Conv2D(4 * n, 3, groups=2, activation="relu")(x))


def _shuffle(x, n):
    # As in ShuffleNet V2: halves of two layers are exchanged.
    x = layers.Concatenate()([layers.Conv2D(4 * n, 1)(x), layers.Conv2D(4 * n, 1)(x)])
    x = ops.transpose(ops.reshape(x, (-1, 8, 8, 2, 4 * n)), (0, 1, 2, 4, 3))
    left, right = ops.split(ops.reshape(x, (-1, 8, 8, 8 * n)), 2, axis=-1)
    left = layers.Conv2D(3 * n, 1, name="left")(ops.relu(left))
    return left + layers.Conv2D(3 * n, 1, name="right")(ops.relu(right))


def _gate(x, n):
    x = layers.PReLU(shared_axes=(1, 2))(layers.Conv2D(4 * n, 3)(x))
    gate = layers.Reshape((1, 1, 4 * n))(layers.GlobalAveragePooling2D()(x))
    gate = layers.Conv2D(2 * n, 1, activation="relu")(gate)
    return x * layers.Conv2D(4 * n, 1, activation="sigmoid")(gate)


def _attention(x, n):
    x = layers.LayerNormalization()(layers.Conv2D(4 * n, 4, 4)(x))
    x = layers.Reshape((4, 4 * n))(x)
    y = layers.MultiHeadAttention(2, 3 * n, value_dim=2 * n, name="attention")(x, x)
    return layers.GlobalAveragePooling1D()(x + y)


def _shared(x, n):
    conv = layers.Conv2D(3 * n, 3, padding="same", activation="relu")
    return conv(conv(layers.Conv2D(3 * n, 1)(x)))


def _nested(x, n):
    inside = keras.Input((8, 8, 3 * n))
    block = keras.Model(inside, layers.Conv2D(4 * n, 3, activation="relu")(inside))
    return block(layers.Conv2D(3 * n, 1, activation="relu")(x))


# Positively homogeneous layers: channels that are multiples of each other are folded exactly.
_BODIES = {
    **dict.fromkeys(
        (_plain, _residual, _concatenation, _added_to_a_concatenation, _separable, _transposed,
         _shared, _nested),
        (0.5, 4.0),
    ),
    **dict.fromkeys(
        (_batch_norm, _batch_norm_last, _depthwise, _tanh, _groups, _shuffle, _gate, _attention),
        (1.0, 1.0),
    ),
}  # fmt: skip


def _classifier(body, n):
    """The body with `n` times the width and random weights."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    x = body(pixels, n)
    x = layers.Flatten()(x) if len(x.shape) > 2 else x
    x = layers.Dense(5 * n, activation="relu")(x)
    model = keras.Model(pixels, layers.Dense(4)(x))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        low = 0.5 if weight.path.endswith("variance") else -1.0
        weight.assign(rng.uniform(low, 1, weight.shape))
    return model


def _split(small, wide, lengths):
    """Split each channel into two equivalent ones, `lengths` times as long."""
    for weight, twin in zip(small.weights, wide.weights, strict=True):
        *_, part, name = weight.path.split("/")
        value, layer = np.asarray(weight), weight.path.split("/")[0]
        for axis, (size, wider) in enumerate(zip(weight.shape, twin.shape, strict=True)):
            if size == wider:
                continue
            # After a depth multiplier or a shuffle of two groups, two entries belong together.
            inner = 2 if name == "pointwise_kernel" or layer in ("left", "right") else 1
            inner = inner if axis == len(weight.shape) - 2 else 1
            value = np.take(
                value, np.repeat(np.arange(size).reshape(-1, inner), 2, 0).ravel(), axis
            )
            reads = axis == len(weight.shape) - 2
            transposed = "transpose" in weight.path and len(weight.shape) == 4
            if part in ("query", "key", "value"):
                reads = axis == 0 and len(weight.shape) == 3
            if part == "query" and not reads:
                value = value / np.sqrt(2)
            factors = np.ones(2)
            if reads != transposed and name not in ("depthwise_kernel", "bias"):
                if not ("depthwise" in weight.path and name == "kernel"):
                    factors = np.array([0.3, 0.7]) / lengths
            elif name in ("kernel", "pointwise_kernel", "bias"):
                factors = np.array(lengths)
            shape = [-1 if i == axis else 1 for i in range(value.ndim)]
            value = value * np.repeat(np.tile(factors, size // inner), inner).reshape(shape)
        twin.assign(value)


def _inputs(model, seed=2):
    return np.random.default_rng(seed).uniform(size=(4, *model.input_shape[1:])).astype("float32")


@pytest.mark.parametrize("body", _BODIES, ids=lambda body: body.__name__[1:])
def test_split_channels_are_folded_exactly(body):
    small, wide = _classifier(body, 1), _classifier(body, 2)
    _split(small, wide, _BODIES[body])
    x = _inputs(small)
    expected = np.asarray(small(x))
    np.testing.assert_allclose(wide(x), expected, rtol=1e-4, atol=1e-4)
    student = slim(wide, 0.5, weights="teacher")
    assert student.count_params() == small.count_params()
    np.testing.assert_allclose(student(x), expected, rtol=1e-4, atol=1e-4)
    # A student written by hand.
    np.testing.assert_allclose(start_from(wide, small)(x), expected, rtol=1e-4, atol=1e-4)
    # Each activation is exact, too.
    aligned = aligned_layers(Folding(wide, small))
    assert aligned
    flat, flat_small = inline(wide, share_layer), inline(small, share_layer)
    for pair in aligned:
        folded = _activation(flat, pair.teacher_layer, x) @ pair.channels
        found = _activation(flat_small, pair.student_layer, x)
        np.testing.assert_allclose(folded, found, rtol=1e-4, atol=1e-4)


def _activation(model, name, x):
    return np.asarray(keras.Model(model.inputs[0], output_of(model, name))(x))


def test_aligned_are_activations_with_fewer_channels_called_once():
    pairs = aligned_layers(Folding(lenet5(), lenet5_half()))
    # The dense layers have as many units in the student.
    assert [pair.teacher_layer for pair in pairs] == ["conv1", "conv2"]
    teacher = _classifier(_shared, 2)
    (pair,) = aligned_layers(Folding(teacher, slim(teacher, 0.5)))
    assert pair.channels.shape == (10, 5)


def test_none_are_aligned_if_other_layers_have_no_weights():
    teacher = _classifier(_batch_norm, 2)
    other = _classifier(lambda x, n: layers.Dropout(0.1)(_batch_norm(x, n)), 1)
    assert aligned_layers(Folding(teacher, other)) == []


@pytest.mark.parametrize("body", _BODIES, ids=lambda body: body.__name__[1:])
def test_width_one_is_the_teacher(body):
    teacher = _classifier(body, 1)
    x = _inputs(teacher)
    student = slim(teacher, 1.0, weights="teacher")
    np.testing.assert_allclose(student(x), teacher(x), rtol=1e-5, atol=1e-5)


def test_normalization_of_another_axis_is_copied():
    """A batch normalization of the time steps does not scale the channels before it."""
    teacher = keras.Sequential(
        [
            keras.Input((12, 4)),
            layers.Conv1D(16, 3, activation=None),
            layers.BatchNormalization(axis=1),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    scale = np.linspace(0.5, 1, 10)
    teacher.layers[1].gamma.assign(scale)
    student = slim(teacher, 0.5, weights="teacher")
    np.testing.assert_allclose(student.layers[2].gamma, scale, rtol=1e-6)


def test_layers_of_equal_width_are_copied():
    teacher = lenet5()
    student = start_from(teacher, lenet5_half())
    for name in ("dense2", "logits"):
        own, others = student.get_layer(name), teacher.get_layer(name)
        for value, expected in zip(own.get_weights(), others.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)
    assert student.count_params() == 35_820


def test_a_cluster_is_the_weighted_mean_direction():
    pixels = keras.Input((2,))
    hidden = layers.Dense(2, activation="relu")(pixels)
    teacher = keras.Model(pixels, layers.Dense(1)(hidden))
    teacher.set_weights(
        [np.array([[3.0, 0], [0, 1]]), np.zeros(2), np.array([[1.0], [2.0]]), np.ones(1)]
    )
    student = slim(teacher, 0.5, weights="teacher")
    kernel, bias, out, last = student.get_weights()
    # Directions (1, 0) and (0, 1), weights (3 * 1)^2 and (1 * 2)^2,
    # mean length (9 * 3 + 4 * 1) / 13.
    length = 31 / 13
    np.testing.assert_allclose(kernel[:, 0], np.array([9, 4]) / 13 * length, rtol=1e-6)
    np.testing.assert_allclose(out[0, 0], (3 * 1 + 1 * 2) / length, rtol=1e-6)
    assert (bias[0], last[0]) == (0, 1)


def test_is_deterministic():
    teacher = _classifier(_residual, 2)
    first, second = (slim(teacher, 0.5, weights="teacher").get_weights() for _ in range(2))
    for value, expected in zip(first, second, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_networks_with_batch_normalization_after_every_layer():
    teacher = alexnet()
    student = start_from(teacher, alexnet_half())
    x = _inputs(teacher)
    assert np.isfinite(np.asarray(student(x))).all()
    np.testing.assert_array_equal(slim(teacher, 1.0, weights="teacher")(x), teacher(x))


def test_network_of_keras_applications():
    teacher = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    x = _inputs(teacher)
    np.testing.assert_allclose(slim(teacher, 1.0, weights="teacher")(x), teacher(x), atol=1e-5)
    assert np.isfinite(np.asarray(start_from(teacher, slim(teacher, 0.5))(x))).all()


def test_preprocessing_is_copied():
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(5, 3, (32, 8, 8, 3)))
    mean, variance, count = adapted.get_weights()
    teacher = _classifier(lambda x, n: layers.Conv2D(4, 3)(adapted(x)), 1)
    adapted.set_weights([mean, variance, count])
    twin = layers.Normalization()
    student = start_from(teacher, _classifier(lambda x, n: layers.Conv2D(4, 3)(twin(x)), 1))
    x = _inputs(teacher)
    np.testing.assert_allclose(student(x), teacher(x), rtol=1e-5, atol=1e-5)


def _conv(filters, size=3, groups=1):
    return lambda x, n: layers.Conv2D(filters, size, groups=groups)(layers.Conv2D(8, 1)(x))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        (_classifier(_batch_norm, 1), "Received: BatchNormalization with 4 variables in place of"),
        (_classifier(_conv(4, size=5), 1), "a weight of shape"),
        (_classifier(_conv(12), 1), "at most as many channels"),
        ("student.keras", "must be a built Functional or Sequential model"),
    ],
)
def test_a_student_with_other_layers_raises_and_keeps_its_weights(student, message):
    before = [] if isinstance(student, str) else student.get_weights()
    with pytest.raises(InputError, match=message):
        start_from(_classifier(_conv(8), 1), student)
    after = [] if isinstance(student, str) else student.get_weights()
    for value, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_groups_that_cannot_be_kept_raise():
    teacher = _classifier(_conv(8, groups=4), 1)
    with pytest.raises(InputError, match="multiples of the same groups"):
        start_from(teacher, _classifier(_conv(6, groups=2), 1))


def test_other_values_of_weights_raise():
    with pytest.raises(InputError, match='"random" or "teacher"'):
        slim(lenet5(), 0.5, weights="cut")


def test_flatten_uses_channels_last_even_for_channels_first():
    def body(x, n):
        x = layers.Permute((3, 1, 2))(layers.Conv2D(3 * n, 3, activation="relu")(x))
        return layers.Flatten(data_format="channels_first")(x)

    small, wide = _classifier(body, 1), _classifier(body, 2)
    _split(small, wide, (0.5, 4.0))
    x = _inputs(small)
    np.testing.assert_allclose(wide(x), small(x), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        slim(wide, 0.5, weights="teacher")(x), small(x), rtol=1e-4, atol=1e-4
    )
