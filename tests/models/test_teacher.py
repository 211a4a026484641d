import json
import pathlib
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher, load_model


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def _dense_model(*layers, units=3, shape=(8, 8, 1)):
    return keras.Sequential(
        [keras.Input(shape), *layers, keras.layers.Flatten(), keras.layers.Dense(units)],
        name="dense_model",
    )


class TestTeacher:
    def test_returns_the_logits_of_every_kind_of_model(self, any_teacher, make_images):
        teacher = Teacher(any_teacher, (0, 1))
        images = make_images(5)
        logits = np.asarray(teacher(images))
        expected = np.asarray(any_teacher(images, training=False))
        if "softmax" in any_teacher.name:
            assert teacher.ends_in == "softmax"
            np.testing.assert_allclose(_softmax(logits), expected, rtol=1e-4, atol=1e-6)
            assert np.abs(logits.sum(-1) - 1).max() > 1e-2
        else:
            assert teacher.ends_in == "logits"
            np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
        assert logits.dtype == np.float32
        assert (teacher.num_classes, teacher.input_shape) == (4, (8, 8, 1))

    def test_never_changes_the_original_model(self, any_teacher, make_images):
        any_teacher.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
        before = [w.copy() for w in any_teacher.get_weights()]
        flags = [layer.trainable for layer in any_teacher._flatten_layers()]
        config = any_teacher.get_config()
        teacher = Teacher(any_teacher, (0, 1))
        teacher.model(make_images(4), training=True)
        teacher.model.trainable = False
        for variable in teacher.model.variables:
            if variable.dtype == "float32":
                variable.assign(variable * 0.0)
        assert [layer.trainable for layer in any_teacher._flatten_layers()] == flags
        assert all(flags)
        assert len(any_teacher.trainable_weights) > 0
        assert any_teacher.get_config() == config
        assert any_teacher.optimizer is not None
        for now, then in zip(any_teacher.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_weights_and_statistics_are_frozen(self, make_teacher, make_images):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        assert teacher.model.trainable_weights == []
        before = teacher.model.get_weights()
        teacher(make_images(4))
        for now, then in zip(teacher.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_is_in_inference_mode(self, make_images):
        model = _dense_model(keras.layers.Dropout(0.9))
        teacher = Teacher(model, (0, 1))
        images = make_images(3)
        np.testing.assert_allclose(
            teacher(images), model(images, training=False), rtol=1e-5, atol=1e-6
        )

    def test_later_training_of_the_original_model_has_no_effect(self, tiny_teacher, make_images):
        teacher = Teacher(tiny_teacher, (0, 1))
        images = make_images(3)
        before = np.asarray(teacher(images))
        tiny_teacher.get_layer("head").kernel.assign(tiny_teacher.get_layer("head").kernel * 2.0)
        np.testing.assert_array_equal(np.asarray(teacher(images)), before)

    def test_templates_are_the_last_kernel(self, any_teacher):
        teacher = Teacher(any_teacher, (0, 1))
        kernel = next(w for w in any_teacher.weights if w.path.endswith("head/kernel")).numpy()
        np.testing.assert_array_equal(teacher.templates, kernel.reshape(-1, 4))

    def test_templates_inside_a_traced_function(self, tiny_teacher):
        teacher = Teacher(tiny_teacher, (0, 1))
        traced = tf.function(lambda: tf.constant(teacher.templates))()
        np.testing.assert_array_equal(traced, teacher.templates)

    @pytest.mark.parametrize("units", [1, 3])
    def test_templates_and_offsets_give_the_logits(self, units, make_images):
        head = keras.layers.Dense(units, "sigmoid", bias_initializer="normal")
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), head])
        teacher = Teacher(model, (0, 1))
        images = make_images(3)
        features = np.asarray(teacher.tapped(teacher.penultimate)(images))
        expected = features @ teacher.templates + teacher.offsets
        np.testing.assert_allclose(teacher(images), expected, rtol=1e-4, atol=1e-5)

    def test_missing_templates_raise(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        teacher = Teacher(keras.Model(inputs, x, name="headless"), (0, 1))
        assert teacher.describe()["class_templates"] is False
        with pytest.raises(InputError, match=r"'headless', which has no class templates.*one-hot"):
            _ = teacher.templates

    def test_mixed_float16_is_copied_in_float32(self, make_images):
        keras.config.set_dtype_policy("mixed_float16")
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 3)(inputs))
        x = keras.layers.Dense(4)(keras.layers.Flatten()(x))
        model = keras.Model(inputs, keras.layers.Activation("softmax", dtype="float32")(x))
        teacher = Teacher(model, (0, 1))
        images = tf.constant(make_images(4))
        assert {layer.compute_dtype for layer in teacher.model.layers[1:]} == {"float32"}
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = teacher(images)
        assert logits.dtype == tf.float32
        assert tape.gradient(logits, images).dtype == tf.float32
        np.testing.assert_allclose(_softmax(np.asarray(logits)), model(images), atol=5e-3)
        # Computed in float32: the resolution of float16 is 2^-10.
        nudged = teacher(images + 1e-5)
        assert 0 < np.abs(np.asarray(nudged - logits)).max() < 1e-3

    def test_batch_norms_and_their_inputs(self, make_teacher, make_images):
        model = make_teacher("nested")
        teacher = Teacher(model, (0, 1))
        images = make_images(3)
        logits, fed = teacher.tapped([teacher.model.outputs[0], *teacher.batch_norm_inputs])(images)
        conv = model.get_layer("body").get_layer("inner_conv")
        np.testing.assert_allclose(fed, conv(images), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(logits, teacher(images), rtol=1e-6)
        (layer,) = teacher.batch_norms
        inner = model.get_layer("body").get_layer("inner_bn")
        np.testing.assert_array_equal(layer.moving_mean, inner.moving_mean)
        np.testing.assert_array_equal(layer.moving_variance, inner.moving_variance)

    def test_equal_names_in_nested_models_are_made_unique(self):
        def part(shape, units):
            return keras.Sequential([keras.Input(shape), keras.layers.Dense(units, name="twin")])

        model = keras.Sequential([keras.Input((4,)), part((4,), 5), part((5,), 3)])
        x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
        np.testing.assert_allclose(Teacher(model, (0, 1))(x), model(x), rtol=1e-5, atol=1e-6)

    def test_layers_with_a_custom_build_are_copied(self, make_images):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.SeparableConv2D(4, 3)(inputs)
        x = keras.layers.GroupNormalization(groups=2)(x)
        x = keras.layers.PReLU()(x)
        x = keras.layers.Reshape((36, 4))(x)
        x = keras.layers.LayerNormalization()(x)
        x = keras.layers.MultiHeadAttention(2, 2)(x, x)
        x = keras.layers.GlobalAveragePooling1D()(x)
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        images = make_images(2)
        np.testing.assert_allclose(
            Teacher(model, (0, 1))(images), model(images), rtol=1e-4, atol=1e-5
        )

    def test_a_teacher_of_a_teacher_is_equal(self, tiny_teacher, make_images):
        first = Teacher(tiny_teacher, (-1, 1))
        second = Teacher(first)
        assert second.input_range == (-1.0, 1.0)
        assert second.original is tiny_teacher
        images = make_images(2)
        np.testing.assert_array_equal(np.asarray(first(images)), np.asarray(second(images)))

    def test_a_teacher_of_a_teacher_takes_another_range(self, tiny_teacher):
        teacher = Teacher(Teacher(tiny_teacher, (0, 1)), np.array([0.0, 2.0]))
        assert teacher.input_range == (0.0, 2.0)

    def test_a_layer_that_cannot_be_copied_raises(self):
        class OwnLayer(keras.layers.Layer):
            def __init__(self):
                super().__init__()

            def call(self, x):
                return 2.0 * x

        class WithoutConfig(OwnLayer):
            def __init__(self, table):
                super().__init__()

        for layer in (OwnLayer(), WithoutConfig(object())):
            with pytest.raises(InputError, match=rf"be copied.*of type {type(layer).__name__}"):
                Teacher(_dense_model(layer), (0, 1))

    def test_describe_is_plain_json(self, make_teacher):
        teacher = Teacher(make_teacher("nested_softmax"), (-1, 1))
        described = teacher.describe()
        assert json.loads(json.dumps(described)) == described
        assert described == {
            "name": "nested_softmax",
            "input_shape": [8, 8, 1],
            "input_range": [-1.0, 1.0],
            "num_classes": 4,
            "ends_in": "softmax",
            # 3x3x1x4 + 4, batch normalization 4 x 4, (6 x 6 x 4) x 4 + 4
            "parameters": 40 + 16 + 580,
            "class_templates": True,
            "batch_norms": 1,
        }


class TestAtPrecision:
    def test_is_the_same_teacher_in_another_precision(self, any_teacher, make_images):
        teacher = Teacher(any_teacher, (-1, 1))
        before = np.asarray(teacher(make_images(4)))
        other = teacher.at_precision("mixed_bfloat16")
        logits = np.asarray(other(make_images(4)))
        assert logits.dtype == np.float32
        error = np.linalg.norm(logits - before) / np.linalg.norm(before)
        assert 1e-5 < error < 0.05  # Only the precision differs.
        assert "bfloat16" in {layer.compute_dtype for layer in other.model.layers}
        assert {weight.dtype for weight in other.model.weights} == {"float32"}
        assert other.model.trainable_weights == []
        np.testing.assert_array_equal(other.templates, teacher.templates)
        assert other.describe() == teacher.describe()
        assert other.original is any_teacher

    def test_does_not_change_the_teacher(self, make_teacher, make_images):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        images = make_images(4)
        before, model, norms = np.asarray(teacher(images)), teacher.model, teacher.batch_norms
        teacher.at_precision("mixed_bfloat16")
        assert teacher.model is model
        assert teacher.batch_norms is norms
        assert {layer.compute_dtype for layer in teacher.model.layers} == {"float32"}
        np.testing.assert_array_equal(np.asarray(teacher(images)), before)

    def test_taps_are_those_of_its_own_model(self, make_teacher, make_images):
        teacher = Teacher(make_teacher("nested"), (0, 1))
        other = teacher.at_precision("mixed_bfloat16")
        images = make_images(3)
        fed = other.tapped(other.batch_norm_inputs[0])(images)
        assert fed.dtype == tf.bfloat16
        expected = teacher.tapped(teacher.batch_norm_inputs[0])(images)
        np.testing.assert_allclose(tf.cast(fed, tf.float32), expected, atol=0.05)
        (layer,), (own,) = other.batch_norms, teacher.batch_norms
        assert layer is not own
        np.testing.assert_array_equal(layer.moving_mean, own.moving_mean)


class TestInputRange:
    @pytest.mark.parametrize(
        ("layer", "expected"),
        [
            (lambda: keras.layers.Rescaling(1 / 255), (0, 255)),
            (lambda: keras.layers.Rescaling(1 / 127.5, offset=-1), (0, 255)),
            (lambda: keras.layers.Rescaling(2.0, offset=-1.0), (0, 1)),
            (lambda: keras.layers.Normalization(mean=120.0, variance=64.0**2), (0, 255)),
            (lambda: keras.layers.Normalization(mean=0.45, variance=0.05), (0, 1)),
        ],
    )
    def test_is_inferred_from_the_model_without_a_warning(self, layer, expected):
        assert Teacher(_dense_model(layer())).input_range == expected

    def test_is_found_in_a_nested_model(self):
        inner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255)])
        assert Teacher(_dense_model(inner)).input_range == (0.0, 255.0)

    def test_normalization_keeps_its_statistics(self, make_images):
        adapted = keras.layers.Normalization(axis=-1)
        data = 255 * make_images(20)
        adapted.adapt(data)
        model = _dense_model(adapted)
        teacher = Teacher(model)
        assert teacher.input_range == (0.0, 255.0)
        np.testing.assert_allclose(teacher(data[:3]), model(data[:3]), rtol=1e-4, atol=1e-5)

    def test_default_is_assumed_with_a_warning(self, tiny_teacher):
        with pytest.warns(UserWarning, match=r"\[0, 1\] is assumed.*`input_range`"):
            assert Teacher(tiny_teacher).input_range == (0.0, 1.0)

    def test_argument_overrides_the_model(self):
        model = _dense_model(keras.layers.Rescaling(1 / 255))
        assert Teacher(model, input_range=(-1, 2)).input_range == (-1.0, 2.0)

    @pytest.mark.parametrize(
        "bad", [(1, 0), (0, 0), (0, float("inf")), (float("nan"), 1), (0, 1, 2), (0,), "ab", 5]
    )
    def test_invalid_ranges_raise(self, tiny_teacher, bad):
        with pytest.raises(InputError, match="`input_range` must be"):
            Teacher(tiny_teacher, input_range=bad)


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="subclassed")
        self.dense = keras.layers.Dense(3)

    def build(self, input_shape):
        self.dense.build((None, 64))
        self.built = True

    def call(self, x):
        return self.dense(keras.ops.reshape(x, (-1, 64)))


def _two_inputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    return keras.Model([a, b], keras.layers.Dense(3)(keras.layers.Add()([a, b])), name="two_in")


def _two_outputs():
    a = keras.Input((4,))
    outputs = [keras.layers.Dense(3)(a), keras.layers.Dense(3)(a)]
    return keras.Model(a, outputs, name="two_out")


def _dynamic():
    inputs = keras.Input((None, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(x), name="dynamic")


def _compiled(loss, **kwargs):
    model = _dense_model(**kwargs)
    model.compile(loss=loss)
    return model


def _segmenter():
    inputs = keras.Input((8, 8, 1))
    return keras.Model(inputs, keras.layers.Conv2D(3, 1)(inputs), name="segmenter")


REFUSED = {
    "no_model": (lambda: 42, "`teacher` must be a Keras model.*of type int"),
    "none": (lambda: None, "`teacher` must be a Keras model.*of type NoneType"),
    "two_inputs": (_two_inputs, "'two_in' with 2 inputs"),
    "two_outputs": (_two_outputs, "'two_out' with 2 outputs"),
    "unbuilt_subclassed": (_Subclassed, "'subclassed', which is not built"),
    "unbuilt": (lambda: keras.Sequential([keras.layers.Dense(3)]), "not built"),
    "dynamic": (_dynamic, r"'dynamic' with the dynamic input shape \(None, None, None, 1\)"),
    "segmenter": (_segmenter, r"'segmenter' with outputs of shape \(None, 8, 8, 3\)"),
    "regressor": (lambda: _compiled("mse"), "of a regressor"),
    "regressor_instance": (lambda: _compiled(keras.losses.MeanAbsoluteError()), "of a regressor"),
    "regressor_function": (lambda: _compiled(keras.losses.mean_squared_error), "of a regressor"),
    "tanh": (
        lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="tanh")]),
        "activation 'tanh'",
    ),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_other_models_raise(self, case):
        make, message = REFUSED[case]
        with pytest.raises(InputError, match=message):
            Teacher(make(), (0, 1))

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_weights_that_are_not_finite_raise(self, tiny_teacher, value):
        kernel = tiny_teacher.get_layer("hidden").kernel.numpy()
        kernel[0, 0] = value
        tiny_teacher.get_layer("hidden").kernel.assign(kernel)
        with pytest.raises(InputError, match=r"NaN or infinite weights.*'hidden'"):
            Teacher(tiny_teacher, (0, 1))

    def test_nan_in_batch_norm_statistics_raises(self, make_teacher):
        model = make_teacher("batch_norm")
        model.get_layer("bn").moving_variance.assign([1.0, np.nan, 1.0, 1.0])
        with pytest.raises(InputError, match=r"NaN.*'bn'"):
            Teacher(model, (0, 1))

    def test_a_regressor_from_a_file_raises(self, tmp_path):
        path = tmp_path / "regressor.keras"
        _compiled("mse").save(path)
        with pytest.raises(InputError, match="of a regressor"):
            Teacher(path, (0, 1))


class TestLoadModel:
    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_both_formats(self, tmp_path, make_teacher, make_images, suffix):
        model = make_teacher("nested_softmax")
        path = str(tmp_path / f"teacher{suffix}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns that .h5 is legacy.
            model.save(path)
        images = make_images(3)
        teacher = Teacher(path, (0, 1))
        np.testing.assert_allclose(
            _softmax(np.asarray(teacher(images))), model(images), rtol=1e-4, atol=1e-6
        )
        assert teacher.num_parameters == model.count_params()

    def test_reading_a_compiled_legacy_file_does_not_warn(self, tmp_path, make_teacher):
        model = make_teacher("batch_norm")
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["acc"])
        path = str(tmp_path / "compiled.h5")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
        assert load_model(path).count_params() == model.count_params()

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match=r"nothing\.keras'.*does not exist"):
            load_model(tmp_path / "nothing.keras")

    @pytest.mark.parametrize("name", ["text.keras", "text.h5", "text.txt"])
    def test_file_that_is_not_a_model(self, tmp_path, name):
        path = tmp_path / name
        path.write_text("This is not a model.")
        with pytest.raises(InputError, match=rf"{name}', which could not be read as a Keras model"):
            Teacher(path)

    def test_directory(self, tmp_path):
        with pytest.raises(InputError, match="could not be read as a Keras model"):
            load_model(tmp_path)

    def test_truncated_file(self, tmp_path, saved_teacher):
        content = pathlib.Path(saved_teacher).read_bytes()
        path = tmp_path / "cut.keras"
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match="could not be read as a Keras model"):
            load_model(path)

    @pytest.mark.parametrize("suffix", [".keras", ".h5"])
    def test_lambda_layer_requires_safe_mode_to_be_off(self, tmp_path, make_images, suffix):
        model = _dense_model(keras.layers.Lambda(lambda x: 2 * x, output_shape=(8, 8, 1)))
        path = str(tmp_path / f"lambda{suffix}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(path)
        with pytest.raises(InputError, match=r"without Lambda layers.*safe_mode"):
            Teacher(path, (0, 1))
        teacher = Teacher(path, (0, 1), safe_mode=False)
        images = make_images(2)
        np.testing.assert_allclose(teacher(images), model(images), rtol=1e-5, atol=1e-6)
