import importlib
import importlib.util
import os
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import read_range
from keras_zskd.deploy.calibration import balanced, filled_up
from keras_zskd.deploy.formats import ExportResult, export
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.models import LocalResponseNormalization, alexnet_half

layers = keras.layers
# Imported by its full name, for monkeypatching.
export_module = importlib.import_module("keras_zskd.deploy.formats")


class Impressions:
    """A stub of a transfer set with only what `export` uses."""

    def __init__(self, images, labels, input_range=(0.0, 1.0)):
        self.images, self.labels, self.input_range = images, labels, input_range

    def arrays(self, limit=None):
        return {"image": self.images[:limit], "label": self.labels[:limit]}


@keras.saving.register_keras_serializable(package="test_export")
class LocalResponse(layers.Layer):
    def call(self, x):
        return tf.nn.local_response_normalization(x, depth_radius=2)


@keras.saving.register_keras_serializable(package="test_export")
class Sinh(layers.Layer):
    """An operator that LiteRT supports only as Flex."""

    def call(self, x):
        return tf.sinh(x)


def classifier(body, shape=(8, 8, 1), num_classes=4):
    inputs = keras.Input(shape)
    x = layers.Flatten()(body(inputs))
    model = keras.Model(inputs, layers.Dense(num_classes, name="head")(x))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith(("moving_mean", "beta", "bias")):
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
        elif variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return model


def lenet(x):
    x = layers.Conv2D(4, 3, activation="tanh")(x)
    x = layers.AveragePooling2D(2)(x)
    return layers.Conv2D(6, 2, activation="relu")(x)


def residual(x):
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(y))
    x = layers.Add()([x, layers.Conv2D(6, 1)(y)])
    return layers.GlobalAveragePooling2D()(x)


@pytest.mark.parametrize("body", [lenet, residual])
def test_litert_file_matches_the_model(tmp_path, make_images, body):
    model = classifier(body)
    images = make_images(20)
    result = export(model, tmp_path / "student.tflite")
    assert result.format == "litert"
    assert result.num_checked == 1_000
    assert result.agreement == 1.0
    assert result.max_abs_difference < 1e-4
    assert result.bytes == os.path.getsize(result.path)
    file = LiteRTModel(result.path)
    assert (file.input_shape, file.num_classes, file.is_integer) == ((8, 8, 1), 4, False)
    np.testing.assert_allclose(file.predict(images), model(images), atol=1e-5)
    assert os.listdir(tmp_path) == ["student.tflite"]


@pytest.mark.parametrize("body", [lenet, residual])
def test_int8_file_holds_only_integers_and_matches_the_model(tmp_path, make_images, body):
    model = classifier(body)
    images = make_images(600)
    result = export(model, tmp_path / "student_int8.tflite", calibration=images)
    assert result.format == "litert_int8"
    assert result.agreement > 0.9
    file = LiteRTModel(result.path)
    assert file.is_integer
    assert file._input["dtype"] == np.int8
    assert file._output["dtype"] == np.int8
    expected = np.asarray(model(images))
    spread = expected.max() - expected.min()
    # The outputs have 255 steps; errors of a few steps accumulate through the layers.
    assert 0.0 < result.max_abs_difference < 0.05 * spread
    np.testing.assert_allclose(file.predict(images), expected, atol=0.05 * spread)


def test_saved_model_serves_any_batch_and_is_replaced(tmp_path, any_teacher, make_images):
    path = tmp_path / "student"
    for _ in range(2):
        result = export(any_teacher, path, num_checks=30)
        assert (result.format, result.agreement, result.num_checked) == ("saved_model", 1.0, 30)
    images = make_images(7)
    loaded = tf.saved_model.load(str(path))
    np.testing.assert_allclose(loaded.serve(images), any_teacher(images, training=False), atol=1e-5)
    assert os.listdir(tmp_path) == ["student"]
    assert result.bytes == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


@pytest.mark.parametrize("kind", ["batch_norm", "nested_softmax", "conv_head"])
def test_other_kinds_of_models_convert_to_int8(tmp_path, make_teacher, make_images, kind):
    model = make_teacher(kind)
    before = model.get_weights()
    images = make_images(200)
    result = export(model, tmp_path / "s_int8.tflite", calibration=images, num_checks=200)
    assert result.agreement > 0.85
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("name", ["s.tflite", "s_int8.tflite"])
def test_softmax_file_returns_logits_when_called(tmp_path, make_teacher, make_images, name):
    model = make_teacher("softmax")
    images = make_images(300)
    export(model, tmp_path / name, calibration=images, num_checks=1)
    file = LiteRTModel(tmp_path / name)
    probabilities = np.asarray(model(images))
    atol = 0.03 if "int8" in name else 1e-5
    np.testing.assert_allclose(file.predict(images), probabilities, atol=atol)
    np.testing.assert_allclose(np.exp(file(images)), probabilities, atol=atol)
    assert np.isfinite(file(images)).all()
    assert evaluate(model, file, images)["predictive_kl"] < (0.01 if "int8" in name else 1e-5)


def test_logits_file_returns_its_outputs_when_called(tmp_path, make_teacher, make_images):
    export(make_teacher(), tmp_path / "s.tflite", num_checks=1)
    file = LiteRTModel(tmp_path / "s.tflite")
    np.testing.assert_array_equal(file(make_images(9)), file.predict(make_images(9)))
    assert file(make_images(1)).min() < 0.0


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["s.tflite", "s_int8.tflite", "s"])
def test_mixed_precision_is_exported_in_float32(tmp_path, make_images, policy, name):
    keras.mixed_precision.set_global_policy(policy)
    model = classifier(residual)
    images = make_images(100)
    result = export(model, tmp_path / name, calibration=images, num_checks=100)
    assert result.agreement > (0.8 if "int8" in name else 0.999)
    assert model.layers[1].compute_dtype == policy.removeprefix("mixed_")
    if name == "s":
        loaded = tf.saved_model.load(result.path)
        assert loaded.serve(images).dtype == tf.float32


def test_half_precision_is_copied_with_its_weights_and_float32_is_shared(make_teacher, make_images):
    plain = make_teacher("nested")
    assert export_module._in_float32(plain).layers[1] is plain.layers[1]
    keras.mixed_precision.set_global_policy("mixed_float16")
    mixed = make_teacher("nested")
    mixed.set_weights(plain.get_weights())
    copy = export_module._in_float32(mixed)
    assert {layer.compute_dtype for layer in copy.layers[1:]} == {"float32"}
    np.testing.assert_allclose(copy(make_images(5)), plain(make_images(5)), atol=1e-6)


def test_calibration_on_impressions_is_class_balanced(
    tmp_path, make_teacher, make_images, monkeypatch
):
    seen = []
    converted = export_module.litert_bytes

    def spy(model, format, calibration):
        seen.append(calibration)
        return converted(model, format, calibration)

    monkeypatch.setattr(export_module, "litert_bytes", spy)
    labels = np.r_[np.zeros(700), np.ones(200), np.full(150, 2), np.full(60, 3)].astype("int64")
    images = make_images(len(labels))
    images[:, 0, 0, 0] = labels / 3.0  # The spy reads the class of an image here.
    result = export(
        make_teacher(), tmp_path / "s_int8.tflite", calibration=Impressions(images, labels)
    )
    assert result.num_checked == 1_110
    classes = np.round(seen[0][:, 0, 0, 0] * 3).astype(int)
    # 500 over 4 classes: all 60 of the rarest class; the other three share the rest.
    np.testing.assert_array_equal(np.sort(np.bincount(classes)), [60, 146, 147, 147])


@pytest.mark.parametrize(
    ("format", "share"), [("float16", 0.6), ("dynamic", 0.4), ("int16x8", 0.45), ("mixed", 0.45)]
)
def test_weights_in_fewer_bits_leave_input_and_output_as_they_are(tmp_path, format, share):
    model = classifier(lambda x: layers.Dense(200)(layers.Flatten()(x)))
    images = np.random.default_rng(0).uniform(size=(60, 8, 8, 1)).astype("float32")
    plain = export(model, tmp_path / "s.tflite", calibration=images, num_checks=60)
    result = export(model, tmp_path / f"s_{format}.tflite", calibration=images, num_checks=60)
    assert result.format == f"litert_{format}"
    assert result.bytes < share * plain.bytes
    assert result.agreement > 0.95
    scores = LiteRTModel(result.path).predict(images)
    np.testing.assert_allclose(scores, model(images), atol=0.05)


def test_constant_layer_without_an_int16_form_is_explained(tmp_path):
    dead = layers.Dense(2, "relu", bias_initializer=keras.initializers.Constant(-9.0))
    head = layers.Dense(1, bias_initializer=keras.initializers.Constant(0.01))
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), dead, head])
    head.kernel.assign([[1.0], [2.0]])
    images = np.random.default_rng(0).uniform(size=(20, 8, 8, 1)).astype("float32")
    with pytest.raises(InputError, match="outputs the same values for all calibration images"):
        export(model, tmp_path / "s_int16x8.tflite", calibration=images, num_checks=20)
    assert not list(tmp_path.iterdir())
    assert export(model, tmp_path / "s_int8.tflite", calibration=images, num_checks=20).bytes


def test_unlabeled_calibration_is_spread_evenly():
    chosen = balanced(None, 5_000, 500)
    assert (chosen[0], chosen[-1], len(np.unique(chosen))) == (0, 4_999, 500)
    assert set(np.diff(chosen)) <= {10, 11}
    np.testing.assert_array_equal(balanced(None, 7, 500), np.arange(7))


def test_missing_images_are_filled_with_noise_in_the_given_range(make_images):
    images = make_images(3)
    filled = filled_up(images, 500, (8, 8, 1), (-2.0, 6.0))
    assert filled.shape == (500, 8, 8, 1)
    np.testing.assert_array_equal(filled[:3], images)
    assert -2.0 <= filled[3:].min() < -1.9
    assert 5.9 < filled[3:].max() <= 6.0


def test_dynamic_batch_file_is_run_in_batches(tmp_path, make_teacher, make_images):
    model = make_teacher()
    model.export(str(tmp_path / "k.tflite"), format="litert", verbose=False)
    file = LiteRTModel(tmp_path / "k.tflite")
    images = make_images(300)
    np.testing.assert_allclose(file.predict(images), model(images), atol=1e-5)
    assert file.predict(images[:0]).shape == (0, 4)


def test_quantization_of_a_hand_computed_example(tmp_path, make_images):
    """One dense layer with weights 1 and -1: outputs are sums of pixels on a grid of 255 steps."""
    model = keras.Sequential([keras.Input((1, 2, 1)), layers.Flatten(), layers.Dense(2)])
    model.set_weights([np.array([[1.0, -1.0], [1.0, -1.0]]), np.zeros(2)])
    corners = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [0.0, 1.0]]).reshape(4, 1, 2, 1)
    export(model, tmp_path / "s_int8.tflite", calibration=corners, num_checks=4)
    file = LiteRTModel(tmp_path / "s_int8.tflite")
    step = 4.0 / 255.0  # Outputs from -2 to 2.
    np.testing.assert_allclose(file._output["quantization"][0], step, rtol=1e-3)
    np.testing.assert_allclose(file.predict(corners), model(corners), atol=step)
    # Pixels beyond the calibrated range are clipped, not wrapped around.
    np.testing.assert_allclose(file.predict(corners * 3.0), file.predict(corners), atol=step)


def test_latency_is_measured(tmp_path, make_teacher, make_images):
    export(make_teacher(), tmp_path / "s.tflite", num_checks=1)
    file = LiteRTModel(tmp_path / "s.tflite")
    assert 0.0 < file.milliseconds_per_image(repeats=20) < 50.0
    assert 0.0 < file.milliseconds_per_image(make_images(1)[0], repeats=20) < 50.0
    with pytest.raises(InputError, match="repeats=0"):
        file.milliseconds_per_image(repeats=0)


def test_a_layer_of_dead_units_is_executed(tmp_path, make_images):
    """XNNPACK rejects the tiny scale of an output of zeros."""
    model = classifier(
        lambda x: layers.Dense(8, activation="relu", name="dead")(layers.Flatten()(x))
    )
    model.get_layer("dead").bias.assign(np.full(8, -100.0))
    result = export(model, tmp_path / "s_int8.tflite", calibration=make_images(20), num_checks=20)
    assert result.agreement == 1.0
    expected = np.broadcast_to(model.get_layer("head").bias, (3, 4))
    np.testing.assert_allclose(
        LiteRTModel(result.path).predict(make_images(3)), expected, atol=0.01
    )


def test_local_response_normalization_has_an_integer_form(tmp_path, make_images):
    def body(x, alpha=1.0):
        x = layers.Conv2D(6, 3, activation="relu", name="conv")(x)
        return LocalResponseNormalization(depth_radius=1, alpha=alpha)(x)

    model, without = classifier(body), classifier(lambda x: body(x, alpha=0.0))
    without.set_weights(model.get_weights())
    images = make_images(300)
    result = export(model, tmp_path / "s_int8.tflite", calibration=images, num_checks=300)
    file = LiteRTModel(result.path)
    assert file.is_integer
    assert result.agreement > 0.95
    expected = np.asarray(model(images))
    spread = np.ptp(expected)
    np.testing.assert_allclose(file.predict(images), expected, atol=0.03 * spread)
    # The layer affects the outputs of this network.
    assert np.abs(without(images) - expected).max() > 0.2 * spread


def test_alexnet_half_converts_to_int8(tmp_path):
    images = np.random.default_rng(0).uniform(size=(20, 32, 32, 3))
    result = export(alexnet_half(), tmp_path / "s.tflite", "litert_int8", images, num_checks=20)
    assert LiteRTModel(result.path).is_integer


def test_tensorflows_local_response_normalization_is_float_only(tmp_path, make_images):
    def body(x):
        return LocalResponse(name="lrn")(layers.Conv2D(4, 3, activation="relu")(x))

    model = classifier(body)
    assert export(model, tmp_path / "s.tflite", num_checks=50).agreement == 1.0
    with pytest.raises(InputError, match=r"no full-integer form.*lrn.*Export it as litert"):
        export(model, tmp_path / "s_int8.tflite", calibration=make_images(20))
    assert os.listdir(tmp_path) == ["s.tflite"]


def test_flex_operators_are_rejected(tmp_path, make_images):
    model = classifier(lambda x: Sinh()(layers.Conv2D(2, 3)(x)))
    with pytest.raises(InputError, match=r"built-in operators only \(needs Sinh\)"):
        export(model, tmp_path / "new" / "s.tflite")
    with pytest.raises(InputError, match="built-in operators only"):
        export(model, tmp_path / "s_int8.tflite", calibration=make_images(4))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["s.tflite", "s"])
def test_a_file_with_different_outputs_is_not_kept(tmp_path, make_teacher, monkeypatch, name):
    other = make_teacher(seed=5)
    write, convert = export_module.write_saved_model, export_module.litert_bytes
    monkeypatch.setattr(export_module, "write_saved_model", lambda model, path: write(other, path))
    monkeypatch.setattr(export_module, "litert_bytes", lambda model, *rest: convert(other, *rest))
    (tmp_path / "s.tflite").write_bytes(b"an earlier file")
    with pytest.raises(RuntimeError, match="differ from those of the Keras model"):
        export(make_teacher(seed=0), tmp_path / name)
    assert os.listdir(tmp_path) == ["s.tflite"]
    assert (tmp_path / "s.tflite").read_bytes() == b"an earlier file"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("s.h5", {}, "must end in .tflite or .onnx, or have no suffix"),
        ("s.tflite", {"format": "tflite"}, "`format` must be one of saved_model, litert"),
        ("s.bin", {"format": "litert"}, "must end in .tflite if"),
        ("s", {"format": "onnx"}, "must end in .onnx if"),
        ("s_int8.tflite", {}, "`calibration` must contain images"),
        (
            "s_int8.tflite",
            {"calibration": np.zeros((0, 8, 8, 1))},
            "`calibration` must contain images",
        ),
        ("s_int8.tflite", {"calibration": np.zeros((4, 9, 9, 1))}, r"shape \(N, 8, 8, 1\)"),
        ("s_int8.tflite", {"calibration": np.full((4, 8, 8, 1), np.nan)}, "finite"),
        ("s.tflite", {"num_checks": 0}, "num_checks=0"),
        ("s.tflite", {"input_range": (1.0, 0.0)}, "low < high"),
        ("taken", {}, "or hold an earlier export"),
        ("taken/file", {}, "or hold an earlier export"),
        ("taken/file/s.tflite", {}, "must be writable"),
    ],
)
def test_unusable_arguments(tmp_path, tiny_teacher, name, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("of the user")
    with pytest.raises(InputError, match=message):
        export(tiny_teacher, tmp_path / name, **arguments)
    assert os.listdir(tmp_path) == ["taken"]
    assert (tmp_path / "taken" / "file").read_text() == "of the user"


def test_directories_are_created_and_the_format_can_be_passed(tmp_path, tiny_teacher):
    path = str(tmp_path / "a" / "b" / "v1.0")
    result = export(tiny_teacher, path, format="saved_model", num_checks=3)
    assert result == ExportResult(
        path, "saved_model", result.bytes, 1.0, result.max_abs_difference, 3
    )
    assert os.listdir(tmp_path / "a" / "b") == ["v1.0"]


def test_a_model_with_nan_weights_is_rejected(tmp_path, tiny_teacher):
    tiny_teacher.set_weights([w * np.nan for w in tiny_teacher.get_weights()])
    with pytest.raises(InputError, match="NaN"):
        export(tiny_teacher, tmp_path / "s.tflite")


def test_a_file_that_is_not_a_litert_model_is_rejected(tmp_path, make_images, tiny_teacher):
    (tmp_path / "s.tflite").write_bytes(b"nothing of the kind, but long enough to be looked into")
    with pytest.raises(InputError, match="must be a LiteRT file"):
        LiteRTModel(tmp_path / "s.tflite")
    with pytest.raises(InputError, match="must be a LiteRT file"):
        LiteRTModel(tmp_path / "missing.tflite")
    export(tiny_teacher, tmp_path / "s.tflite", num_checks=1)
    with pytest.raises(InputError, match=r"Received: images of shape \(2, 9, 9, 1\)"):
        LiteRTModel(tmp_path / "s.tflite").predict(make_images(2, (9, 9, 1)))


@pytest.mark.parametrize(("widest", "is_warned"), [(10.0, False), (1e4, True)])
def test_features_that_an_int8_input_loses_are_warned_of(tmp_path, widest, is_warned):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    columns = read_range([[0, 1], [0, widest]], (2,))
    rows = np.random.default_rng(0).uniform(*columns, (20, 2)).astype(np.float32)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        export(model, tmp_path / "a_int8.tflite", None, rows, columns, num_checks=20)
    assert any("one scale for all features" in str(w.message) for w in said) == is_warned


def test_a_file_that_often_disagrees_is_warned_of(tmp_path):
    expected, actual = np.eye(4), np.eye(4)[[0, 1, 3, 2]]
    with pytest.warns(UserWarning, match=r"a\.tflite and .* only 50\.0% of 4 inputs\."):
        export_module._compare(expected, actual, "litert_int8", tmp_path / "a.tflite")
