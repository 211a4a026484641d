import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models.logits import logits_view
from keras_zskd.models.teacher import Teacher


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def _predict(model, images):
    return np.asarray(model(images, training=False))


def _classifier(end):
    """A classifier whose `end` maps features `(N, 32)` to probabilities or logits `(N, 4)`."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(2, 5, name="conv")(inputs)
    x = keras.layers.Flatten(name="flat")(x)
    return keras.Model(inputs, end(x), name="classifier")


def _dense(**kwargs):
    return keras.layers.Dense(4, name="head", **kwargs)


def _nested_end(x):
    inner = keras.Sequential(
        [keras.Input((32,)), _dense(), keras.layers.Activation("softmax")], name="inner"
    )
    return inner(x)


SOFTMAX_ENDS = {
    "activation": lambda x: _dense(activation="softmax")(x),
    "activation_function": lambda x: _dense(activation=keras.activations.softmax)(x),
    "activation_function_of_ops": lambda x: _dense(activation=keras.ops.softmax)(x),
    "softmax_layer": lambda x: keras.layers.Softmax()(_dense()(x)),
    "activation_layer": lambda x: keras.layers.Activation("softmax")(_dense()(x)),
    "ops": lambda x: keras.ops.softmax(_dense()(x)),
    "nested": _nested_end,
    "below_dropout": lambda x: keras.layers.Dropout(0.5)(_dense(activation="softmax")(x)),
    "below_reshape": lambda x: keras.layers.Reshape((4,))(_dense(activation="softmax")(x)),
    "below_float32_layer": lambda x: keras.layers.Activation("linear", dtype="float32")(
        _dense(activation="softmax")(x)
    ),
    "below_identity": lambda x: keras.layers.Identity()(_dense(activation="softmax")(x)),
    "below_float32_cast": lambda x: keras.ops.cast(_dense(activation="softmax")(x), "float32"),
    "layer_as_activation": lambda x: _dense(activation=keras.layers.Softmax())(x),
    "below_spatial_dropout": lambda x: keras.layers.Flatten()(
        keras.layers.SpatialDropout1D(0.5)(
            keras.layers.Reshape((1, 4))(_dense(activation="softmax")(x))
        )
    ),
    "above_dropout": lambda x: keras.layers.Softmax()(keras.layers.Dropout(0.5)(_dense()(x))),
}
LOGITS_ENDS = {
    "plain": lambda x: _dense()(x),
    "linear": lambda x: _dense(activation="linear")(x),
    "linear_layer": lambda x: keras.layers.Activation("linear")(_dense()(x)),
    "float32_cast": lambda x: keras.ops.cast(_dense()(x), "float32"),
}


class TestLogitsView:
    @pytest.mark.parametrize("end", SOFTMAX_ENDS)
    def test_softmax_is_found_and_removed(self, end, make_images):
        model = _classifier(SOFTMAX_ENDS[end])
        view = logits_view(model)
        images = make_images(6)
        probabilities, logits = _predict(model, images), _predict(view.model, images)
        np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
        assert view.ends_in == "softmax"
        assert np.abs(logits.sum(-1) - 1.0).max() > 1e-2  # Not the probabilities.
        np.testing.assert_allclose(_softmax(logits), probabilities, rtol=1e-4, atol=1e-6)
        # The logits, including their constant: W x + b.
        features = keras.Model(model.inputs[0], model.get_layer("flat").output)
        kernel, bias = (np.asarray(w) for w in (view.head.kernel, view.head.bias))
        expected = _predict(features, images) @ kernel + bias
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("end", LOGITS_ENDS)
    def test_logits_are_not_changed(self, end, make_images):
        model = _classifier(LOGITS_ENDS[end])
        view = logits_view(model)
        assert view.ends_in == "logits"
        assert view.head is model.get_layer("head")
        images = make_images(3)
        np.testing.assert_allclose(_predict(view.model, images), _predict(model, images), rtol=1e-6)

    def test_viewing_does_not_change_the_model(self, make_teacher, make_images):
        model = make_teacher("softmax")
        images = make_images(3)
        before = _predict(model, images)
        logits_view(model)
        np.testing.assert_array_equal(_predict(model, images), before)
        assert model.get_layer("head").activation is keras.activations.softmax
        # Also if traced again, as by a later fit.
        np.testing.assert_allclose(model.predict(images, verbose=0), before, rtol=1e-5, atol=1e-7)

    def test_layers_are_shared(self, make_teacher, make_images):
        model = make_teacher("softmax")
        view = logits_view(model)
        images = make_images(3)
        before = _predict(view.model, images)
        head = model.get_layer("head")
        head.bias.assign(head.bias + np.float32([1, 2, 3, 4]))
        np.testing.assert_allclose(
            _predict(view.model, images), before + np.float32([1, 2, 3, 4]), rtol=1e-5, atol=1e-5
        )

    def test_features_are_the_input_of_the_head(self, any_teacher, make_images):
        view = logits_view(any_teacher)
        images = make_images(3)
        features = _predict(keras.Model(view.model.inputs[0], view.features), images)
        logits = features @ np.asarray(view.head.kernel).reshape(features.shape[-1], -1)
        logits += np.asarray(view.head.bias)
        logits = logits.mean(axis=(1, 2)) if logits.ndim == 4 else logits
        np.testing.assert_allclose(_predict(view.model, images), logits, rtol=1e-4, atol=1e-5)

    def test_head_of_a_mobilenet(self, make_images):
        def end(x):
            x = keras.layers.Reshape((1, 1, 32))(x)
            x = keras.layers.Conv2D(4, 1, name="head")(keras.layers.Dropout(0.1)(x))
            return keras.layers.Activation("softmax")(keras.layers.Reshape((4,))(x))

        model = _classifier(end)
        view = logits_view(model)
        assert view.head is model.get_layer("head")
        assert view.ends_in == "softmax"

    def test_softmax_of_a_layer_that_is_not_a_head_is_removed(self, make_images):
        # A convolution over the whole map is not 1x1: no templates, but its kernel must be kept.
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(4, 8, activation="softmax", name="wide")(inputs)
        model = keras.Model(inputs, keras.layers.Flatten()(x))
        view = logits_view(model)
        assert view.ends_in == "softmax"
        images = make_images(3)
        logits = _predict(view.model, images)
        assert logits.shape == (3, 4)
        np.testing.assert_allclose(_softmax(logits), _predict(model, images), rtol=1e-4, atol=1e-6)

    def test_mean_of_softmax_maps_raises(self):
        # Averaged probabilities are neither logits nor the softmax of averaged logits.
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(4, 1, activation="softmax")(inputs)
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
        with pytest.raises(InputError, match="softmax"):
            logits_view(model)

    def test_softmax_in_a_hidden_layer_is_kept(self, make_images):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Dense(5, activation="softmax")(keras.layers.Flatten()(inputs))
        model = keras.Model(inputs, keras.layers.Dense(4, name="head")(x))
        view = logits_view(model)
        assert view.ends_in == "logits"
        images = make_images(3)
        np.testing.assert_allclose(_predict(view.model, images), _predict(model, images), rtol=1e-6)

    @pytest.mark.parametrize("shared", ["layer", "activation", "head"])
    def test_other_calls_of_the_softmax_layer_are_kept(self, shared):
        """One layer may be the softmax of an attention and that of the head."""
        softmax = {
            "layer": keras.layers.Softmax(),
            "activation": keras.layers.Activation("softmax"),
            "head": keras.layers.Dense(4, "softmax", kernel_initializer="random_normal"),
        }[shared]
        inputs = keras.Input((4, 4))
        attention = softmax(keras.layers.Dot(axes=2)([inputs, inputs]))
        x = keras.layers.Dot(axes=(2, 1))([attention, inputs])
        outputs = softmax(keras.layers.Dense(4)(keras.layers.Flatten()(x)))
        model = keras.Model(inputs, outputs)
        rows = np.random.default_rng(0).normal(size=(3, 4, 4)).astype("float32")
        teacher = Teacher(model, (0, 1))
        assert teacher.ends_in == "softmax"
        for each in (teacher, teacher.at_precision("float32")):
            np.testing.assert_allclose(
                _softmax(each(rows).numpy()), _predict(model, rows), rtol=1e-4
            )

    def test_no_head_without_a_kernel_before_the_logits(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(4, 3)(inputs)
        model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x))
        view = logits_view(model)
        assert view.head is None
        assert view.features is None
        assert view.ends_in == "logits"

    @pytest.mark.parametrize("activation", ["softplus", "tanh"])
    def test_other_final_activations_raise(self, activation):
        model = _classifier(lambda x: _dense(activation=activation)(x))
        with pytest.raises(
            InputError, match=rf"logits, softmax or sigmoid.*activation '{activation}'"
        ):
            logits_view(model)

    @pytest.mark.parametrize("name", ["softmax", "linear"])
    @pytest.mark.parametrize("is_layer", [False, True], ids=["activation", "layer"])
    def test_a_custom_function_with_the_name_of_a_keras_function_raises(self, name, is_layer):
        def double(x):
            return 2.0 * x

        double.__name__ = name
        model = _classifier(
            (lambda x: keras.layers.Activation(double)(_dense()(x)))
            if is_layer
            else _dense(activation=double)
        )
        with pytest.raises(
            InputError, match=rf"logits, softmax or sigmoid.*activation '\S+\.{name}'"
        ):
            logits_view(model)

    def test_a_custom_class_with_the_name_of_a_keras_class_is_an_ordinary_layer(self, make_images):
        class Softmax(keras.layers.Layer):
            def call(self, x):
                return 2.0 * x

        model = _classifier(lambda x: Softmax()(_dense()(x)))
        view = logits_view(model)
        assert view.ends_in == "logits"
        images = make_images(3)
        np.testing.assert_allclose(_predict(view.model, images), _predict(model, images), rtol=1e-6)

    def test_other_arithmetic_of_a_softmax_layer_is_kept(self, make_images):
        class Sharpened(keras.layers.Activation):  # No weights, but more than its activation.
            def call(self, x):
                return self.activation(3.0 * x)

        model = _classifier(lambda x: Sharpened("softmax")(_dense()(x)))
        view = logits_view(model)
        assert view.ends_in == "softmax"
        images = make_images(3)
        np.testing.assert_allclose(
            _softmax(_predict(view.model, images)), _predict(model, images), rtol=1e-4, atol=1e-6
        )

    def test_the_search_stops_at_a_subclass_of_identity(self, make_images):
        class Negated(keras.layers.Identity):
            def call(self, x):
                return -x

        model = _classifier(lambda x: Negated()(_dense(activation="softmax")(x)))
        view = logits_view(model)
        assert view.ends_in == "logits"
        images = make_images(3)
        np.testing.assert_allclose(_predict(view.model, images), _predict(model, images), rtol=1e-6)

    def test_sigmoids_are_of_labels(self):
        for end in (
            lambda x: _dense(activation="sigmoid")(x),
            lambda x: keras.layers.Activation("sigmoid")(_dense()(x)),
            lambda x: keras.ops.sigmoid(_dense()(x)),
        ):
            view = logits_view(_classifier(end))
            assert (view.ends_in, view.is_multi_label) == ("sigmoid", True)

    def test_batch_norms_with_their_inputs(self, make_teacher, make_images):
        model = make_teacher("nested")
        view = logits_view(model)
        ((layer, tensor),) = view.batch_norms
        assert layer.name == "inner_bn"
        images = make_images(4)
        conv = model.get_layer("body").get_layer("inner_conv")
        np.testing.assert_allclose(
            _predict(keras.Model(view.model.inputs[0], tensor), images),
            np.asarray(conv(images)),
            rtol=1e-5,
            atol=1e-6,
        )

    def test_mixed_float16_softmax_below_float32(self, make_images):
        keras.config.set_dtype_policy("mixed_float16")
        model = _classifier(
            lambda x: keras.layers.Activation("softmax", dtype="float32")(_dense()(x))
        )
        view = logits_view(model)
        assert view.ends_in == "softmax"
        images = make_images(3)
        logits = _predict(view.model, images).astype("float32")
        np.testing.assert_allclose(_softmax(logits), _predict(model, images), atol=2e-3)
