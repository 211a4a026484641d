import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_zskd.core.errors import InputError
from keras_zskd.models import alexnet, alexnet_half, lenet5, lenet5_half
from keras_zskd.models.slimming.narrow_copy import slim


def _classifier(body, shape=(8, 8, 3), classes=4):
    pixels = keras.Input(shape)
    x = body(pixels)
    if len(x.shape) > 2:
        x = layers.Flatten()(x)
    return keras.Model(pixels, layers.Dense(classes, name="logits")(x))


def _weights(model):
    """Shapes of all weights, in order."""
    return [tuple(weight.shape) for weight in model.weights]


def _train_and_reload(model, tmp_path):
    """One training step changes the weights, and a saved copy has the same outputs."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(4, *model.input_shape[1:])).astype("float32")
    before = model.get_weights()
    model.compile("sgd", "mse", run_eagerly=True)  # Faster than compiling for one step.
    model.fit(x, rng.uniform(size=(4, model.output_shape[-1])), verbose=0)
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "slim.keras")
    loaded = keras.saving.load_model(tmp_path / "slim.keras")
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-3, atol=1e-3)


def test_the_published_halves():
    assert _weights(slim(lenet5(), 0.5)) == _weights(lenet5_half("dafl"))
    assert _weights(slim(alexnet(), 0.5)) == _weights(alexnet_half())


def test_width_one_is_a_newly_initialized_copy(tmp_path):
    model = lenet5()
    copy = slim(model, 1)
    assert _weights(copy) == _weights(model)
    assert not np.array_equal(copy.get_weights()[0], model.get_weights()[0])
    assert copy.name == "lenet5_slim"
    _train_and_reload(copy, tmp_path)


def test_the_original_model_is_not_changed():
    model = lenet5()
    config, weights = model.get_config(), model.get_weights()
    slim(model, 0.5)
    assert model.get_config() == config
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("width", [0, -0.5, 1.01, math.nan, math.inf, True, "0.5", None])
def test_width_out_of_range_raises(width):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        slim(lenet5(), width)


def test_a_frozen_teacher_gives_a_trainable_student():
    model = lenet5()
    model.trainable = False
    assert len(slim(model, 0.5).trainable_weights) == 10


def test_a_model_without_hidden_layers_raises():
    with pytest.raises(InputError, match="must have hidden layers that can be narrowed"):
        slim(_classifier(lambda x: x), 0.5)


def test_models_without_a_graph_raise():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for model in (Subclassed(), keras.Sequential([layers.Dense(3)]), "model.keras"):
        with pytest.raises(InputError, match="graph of layers"):
            slim(model, 0.5)
    pixels = keras.Input((4,))
    with pytest.raises(InputError, match="with 1 inputs and 2 outputs"):
        slim(keras.Model(pixels, [layers.Dense(3)(pixels), layers.Dense(3)(pixels)]), 0.5)


def test_an_unsupported_layer_with_weights_raises():
    cells = layers.RNN(layers.LSTMCell(5), name="cells")
    model = _classifier(lambda x: cells(layers.Reshape((8, 24))(x)))
    with pytest.raises(InputError, match=r"layers that can be narrowed.*'cells' of type RNN"):
        slim(model, 0.5)


@pytest.mark.parametrize(
    ("layer", "rank"),
    [
        (layers.Conv1D(6, 3), 1),
        (layers.Conv1DTranspose(6, 3), 1),
        (layers.SeparableConv1D(6, 3), 1),
        (layers.Conv2D(6, 3), 2),
        (layers.Conv2DTranspose(6, 3), 2),
        (layers.SeparableConv2D(6, 3, depth_multiplier=2), 2),
        (layers.Conv3D(6, 3), 3),
        (layers.Conv3DTranspose(6, 3), 3),
        (layers.Dense(6), 2),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_convolution_is_narrowed(layer, rank):
    model = slim(_classifier(layer, shape=(*(4,) * rank, 3)), 0.5)
    assert model.layers[1].output.shape[-1] == 3
    assert model.output_shape == (None, 4)


@pytest.mark.parametrize(
    ("norm", "channels"),
    [
        (layers.BatchNormalization(), 5),
        (layers.LayerNormalization(), 5),
        (layers.LayerNormalization(axis=(1, 2, 3)), 5),
        (layers.RMSNormalization(), 5),
        (layers.UnitNormalization(), 5),
        (layers.PReLU(shared_axes=(1, 2)), 5),
        (layers.GroupNormalization(groups=5), 5),
        (layers.GroupNormalization(groups=-1), 5),
        (layers.GroupNormalization(groups=2), 4),  # 5 is not a multiple of the groups.
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_normalization_layers_follow_their_input(norm, channels):
    wide = 8 if channels == 4 else 10
    model = slim(_classifier(lambda x: norm(layers.Conv2D(wide, 3)(x))), 0.5)
    assert model.layers[2].output.shape[-1] == channels
    assert model(np.zeros((2, 8, 8, 3), "float32")).shape == (2, 4)


def test_groups_are_kept_and_their_channels_rounded_to_multiples():
    def body(x):
        x = layers.Conv2D(12, 1, name="before")(x)
        x = layers.Conv2D(24, 3, groups=4, name="grouped")(x)
        x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
        return layers.Conv2D(48, 3, groups=48, padding="same", name="disguised")(x)

    model = slim(_classifier(body), 0.4)
    shapes = {layer.name: layer.output.shape[-1] for layer in model.layers}
    assert shapes["before"] == 4  # 4.8, rounded to a multiple of 4.
    assert shapes["grouped"] == 8  # 9.6, rounded to a multiple of 4.
    assert shapes["depthwise"] == shapes["disguised"] == 16
    assert model.get_layer("grouped").groups == 4
    assert model.get_layer("disguised").groups == 16


def test_residual_additions_still_fit(tmp_path):
    def body(x):
        x = layers.Conv2D(10, 3, padding="same")(x)
        for _ in range(2):
            y = layers.Conv2D(7, 3, padding="same", activation="relu")(x)
            y = layers.BatchNormalization()(layers.Conv2D(10, 3, padding="same")(y))
            x = layers.Add()([x, y])
        wide = layers.Concatenate()([x, layers.MaxPooling2D(2, 1, "same")(x)])
        x = layers.Conv2D(20, 1, name="like_the_concatenation")(wide) * wide
        return layers.GlobalAveragePooling2D()(x)

    model = slim(_classifier(body), 0.3)
    assert model.get_layer("like_the_concatenation").filters == 6
    _train_and_reload(model, tmp_path)


def test_addition_to_a_concatenation_of_odd_parts():
    def body(x):
        x = layers.Concatenate()([layers.Conv2D(3, 1)(x), layers.Conv2D(3, 1)(x)])
        return layers.Add()([x, layers.Conv2D(6, 1, name="sum")(x)])

    model = slim(_classifier(body), 0.5)
    assert model.get_layer("sum").filters == 4  # 2 + 2, not 3.


def test_layers_added_to_the_input_or_the_output_keep_their_width():
    pixels = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 3, padding="same", name="to_input")(pixels) + pixels
    x = layers.Conv2D(8, 3, name="hidden")(x)
    x = layers.Flatten()(x)
    scores = layers.Dense(4, name="to_output")(x) + layers.Dense(4)(x)
    model = slim(keras.Model(pixels, layers.Softmax()(scores)), 0.5)
    assert model.get_layer("to_input").filters == 3
    assert model.get_layer("hidden").filters == 4
    assert model.get_layer("to_output").units == 4
    assert isinstance(model.layers[-1], layers.Softmax)


def test_squeeze_and_excite():
    def body(x):
        x = layers.Conv2D(12, 3)(x)
        gate = layers.GlobalAveragePooling2D()(x)
        gate = layers.Reshape((1, 1, 12))(gate)
        gate = layers.Conv2D(3, 1, activation="relu")(gate)
        gate = layers.Conv2D(12, 1, activation="sigmoid")(gate)
        return layers.Multiply()([x, gate])

    model = slim(_classifier(body), 0.25)
    (reshape,) = (layer for layer in model.layers if isinstance(layer, layers.Reshape))
    assert reshape.target_shape == (1, 1, 3)


def test_keras_operations_in_the_graph(tmp_path):
    def body(x):
        x = layers.Conv2D(12, 3)(x)
        gate = ops.reshape(ops.mean(x, axis=(1, 2)), (-1, 1, 1, 12))
        gate = ops.sigmoid(layers.Dense(12)(gate)) * 2.0
        x = ops.relu(x * gate)
        # A channel shuffle with 3 groups.
        x = ops.reshape(x, (-1, 6, 6, 3, 4))
        x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 6, 6, 12))
        left, right = ops.split(x, 2, axis=-1)
        x = ops.concatenate([left[:, 1:], right[:, :5]], axis=-1)
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        x = layers.Conv2D(10, 3, name="last")(x)
        return ops.squeeze(ops.expand_dims(ops.max(x, axis=(1, 2)), 1), 1)

    model = slim(_classifier(body), 0.5)
    assert model.get_layer("last").kernel.shape == (3, 3, 6, 5)
    _train_and_reload(model, tmp_path)


def test_sliced_channels_keep_their_width():
    def body(x):
        x = layers.Conv2D(12, 3, name="picked")(x)
        return layers.Conv2D(10, 3, name="free")(x[..., :4])

    model = slim(_classifier(body), 0.5)
    assert model.get_layer("picked").filters == 12
    assert model.get_layer("free").filters == 5


def test_constants_keep_the_width_of_the_other_operand():
    def body(x):
        x = layers.Conv2D(4, 3, name="scaled")(x) * np.arange(4, dtype="float32")
        return layers.Conv2D(10, 3, name="free")(x)

    model = slim(_classifier(body), 0.5)
    assert [model.get_layer(name).filters for name in ("scaled", "free")] == [4, 5]


def test_mixing_over_tokens_and_attention(tmp_path):
    def body(x):
        x = layers.Reshape((16, 12))(layers.Conv2D(12, 2, 2)(x))
        y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
        y = layers.Dense(16, name="back")(layers.Dense(20, activation="gelu", name="tokens")(y))
        x = x + layers.Permute((2, 1))(y)
        attended = layers.MultiHeadAttention(2, 6, name="attention")(x, x)
        return layers.GlobalAveragePooling1D()(x + attended)

    model = slim(_classifier(body), 0.5)
    assert model.get_layer("tokens").units == 10
    assert model.get_layer("back").units == 16  # Tokens are pixels, which are kept.
    assert model.get_layer("attention").key_dim == 3
    _train_and_reload(model, tmp_path)


def test_a_shared_layer_stays_shared(tmp_path):
    conv = layers.Conv2D(6, 3, padding="same", name="shared")

    def body(x):
        x = layers.Conv2D(6, 1)(x)
        return layers.Conv2D(8, 3)(conv(conv(x)))

    model = slim(_classifier(body), 0.5)
    assert len(model.weights) == 8
    assert model.get_layer("shared").kernel.shape == (3, 3, 3, 3)
    _train_and_reload(model, tmp_path)


def test_a_shared_layer_applied_to_the_input_and_to_itself_keeps_its_width():
    conv = layers.Conv2D(3, 3, padding="same", name="shared")
    model = slim(_classifier(lambda x: layers.Conv2D(8, 3)(conv(conv(x)))), 0.5)
    assert model.get_layer("shared").kernel.shape == (3, 3, 3, 3)


def test_nested_models_are_inlined(tmp_path):
    block_in = keras.Input((8, 8, 6))
    y = layers.Conv2D(6, 3, padding="same", name="inner")(block_in)
    block = keras.Model(block_in, layers.Add()([block_in, y]), name="block")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.Sequential([layers.Conv2D(6, 3, padding="same", name="stem")], name="first"),
            block,
            keras.Sequential([layers.Flatten(), layers.Dense(4)], name="head"),
        ]
    )
    narrow = slim(model, 0.5)
    assert narrow.get_layer("inner").kernel.shape == (3, 3, 3, 3)
    assert not any(isinstance(layer, keras.Model) for layer in narrow.layers)
    _train_and_reload(narrow, tmp_path)


def test_preprocessing_constants_are_kept():
    adapted = layers.Normalization()
    adapted.adapt(np.random.default_rng(0).normal(5, 3, (32, 8, 8, 3)))

    def body(x):
        x = layers.Rescaling(1 / 127.5, offset=-1)(adapted(x))
        x = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0])(x)
        return layers.Conv2D(8, 3)(x)

    wide = _classifier(body)
    narrow = slim(wide, 0.5)
    x = np.random.default_rng(1).normal(5, 3, (2, 8, 8, 3)).astype("float32")
    before = [keras.Model(m.inputs[0], m.layers[3].output)(x) for m in (wide, narrow)]
    assert isinstance(narrow.layers[3], layers.Normalization)
    np.testing.assert_allclose(before[0], before[1], rtol=1e-6)
    assert narrow.layers[4].filters == 4


def test_dtype_policies_and_the_final_activation_are_kept(tmp_path):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        pixels = keras.Input((8, 8, 3))
        x = layers.Flatten()(layers.Conv2D(8, 3, name="conv")(pixels))
        scores = layers.Dense(4, activation="softmax", dtype="float32", name="scores")(x)
        wide = keras.Model(pixels, scores)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    narrow = slim(wide, 0.5)
    assert narrow.get_layer("conv").dtype_policy.name == "mixed_float16"
    assert narrow.get_layer("conv").filters == 4
    assert narrow.get_layer("scores").dtype_policy.name == "float32"
    assert narrow.get_layer("scores").activation is keras.activations.softmax
    _train_and_reload(narrow, tmp_path)


@pytest.mark.parametrize(
    "build",
    [
        lambda **kwargs: keras.applications.MobileNetV2(alpha=0.35, **kwargs),
        keras.applications.MobileNetV3Small,
        keras.applications.EfficientNetB0,
    ],
    ids=["MobileNetV2", "MobileNetV3Small", "EfficientNetB0"],
)
def test_networks_of_keras_applications(build, tmp_path):
    wide = build(input_shape=(32, 32, 3), weights=None, classes=10)
    narrow = slim(wide, 0.5)
    # Kernels between two narrowed layers shrink to a quarter; others do not grow.
    assert 0.25 < narrow.count_params() / wide.count_params() < 0.3
    assert narrow.output_shape == (None, 10)
    assert narrow(np.zeros((2, 32, 32, 3), "float32")).shape == (2, 10)


def test_mobilenet_trains_and_reloads(tmp_path):
    wide = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    _train_and_reload(slim(wide, 0.5), tmp_path)
