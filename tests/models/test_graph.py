import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models import graph


def _softmax(z):
    z = np.exp(z - z.max(-1, keepdims=True))
    return z / z.sum(-1, keepdims=True)


def _predict(model, images):
    return np.asarray(model(images, training=False))


def _dense(**kwargs):
    return keras.layers.Dense(4, name="head", **kwargs)


def _residual_with_shared_layer():
    inputs = keras.Input((8, 8, 1))
    conv = keras.layers.Conv2D(3, 3, padding="same", name="conv")
    shared = keras.layers.Conv2D(3, 1, activation="tanh", name="shared")
    x = conv(inputs)
    x = shared(shared(x)) + x  # keras.ops add, and one layer called twice
    x = keras.ops.relu(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, name="head")(x), name="residual")


def _by_keyword(x):
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, activation="relu")])
    return inner(inputs=x)


def _two_inputs(x, is_dict=False):
    a, b = keras.Input((6,), name="b"), keras.Input((6,), name="a")
    y = keras.layers.Subtract()([a, b])
    inner = keras.Model({"b": a, "a": b} if is_dict else [a, b], y)
    given = keras.layers.Dense(6)(x), keras.layers.Dense(6)(x)
    return inner(dict(zip(("b", "a"), given, strict=True)) if is_dict else list(given))


def _two_outputs(x, is_dict=False):
    inputs = keras.Input((6,))
    first, second = (keras.layers.Dense(5, name=name)(inputs) for name in ("first", "second"))
    inner = keras.Model(inputs, {"q": first, "p": second} if is_dict else [first, second])
    found = inner(x)
    first, second = (found["q"], found["p"]) if is_dict else found
    return keras.layers.Subtract()([first, second])


NESTED = {
    "by_keyword": _by_keyword,
    "two_inputs": _two_inputs,
    "inputs_by_name": lambda x: _two_inputs(x, is_dict=True),
    "two_outputs": _two_outputs,
    "outputs_by_name": lambda x: _two_outputs(x, is_dict=True),
}


class TestInline:
    def test_inlined_model_is_equivalent(self, any_teacher, make_images):
        images = make_images(5)
        flat = graph.inline(any_teacher, graph.share_layer)
        np.testing.assert_allclose(
            _predict(flat, images), _predict(any_teacher, images), rtol=1e-6, atol=1e-6
        )
        assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
        assert [v.path for v in flat.weights] == [v.path for v in any_teacher.weights]

    def test_default_copies_are_new_and_do_not_change_the_model(self, make_teacher):
        model = make_teacher("nested")
        before = [w.copy() for w in model.get_weights()]
        flat = graph.inline(model)
        assert [w.shape for w in flat.weights] == [w.shape for w in model.weights]
        assert not {id(w) for w in flat.weights} & {id(w) for w in model.weights}
        for variable in flat.weights:
            variable.assign(variable + 1.0)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_copy_layer_is_called_once_per_layer_and_sharing_is_kept(self):
        model = _residual_with_shared_layer()
        seen = []

        def copy(layer):
            seen.append(layer.name)
            return graph.clone_layer(layer)

        flat = graph.inline(model, copy)
        assert seen.count("shared") == 1
        assert flat.count_params() == model.count_params()
        assert len(flat.get_layer("shared")._inbound_nodes) == 2

    def test_residual_connections_and_ops_are_kept(self, make_images):
        model = _residual_with_shared_layer()
        flat = graph.inline(model)
        flat.set_weights(model.get_weights())
        images = make_images(3)
        np.testing.assert_allclose(
            _predict(flat, images), _predict(model, images), rtol=1e-6, atol=1e-6
        )

    def test_models_nested_two_deep_are_inlined(self, make_images):
        inner = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, name="deep")])
        inputs = keras.Input((8, 8, 1))
        middle = keras.Model(inputs, keras.layers.Flatten()(inner(inputs)), name="middle")
        outer = keras.Sequential([keras.Input((8, 8, 1)), middle, keras.layers.Dense(3)])
        flat = graph.inline(outer, graph.share_layer)
        assert flat.get_layer("deep") is inner.get_layer("deep")
        images = make_images(2)
        np.testing.assert_allclose(_predict(flat, images), _predict(outer, images), rtol=1e-6)

    @pytest.mark.parametrize("kind", NESTED)
    def test_nested_models_of_any_structure_are_inlined(self, kind):
        inputs = keras.Input((6,))
        model = keras.Model(inputs, _dense()(NESTED[kind](inputs)))
        flat = graph.inline(model, graph.share_layer)
        assert not any(isinstance(layer, keras.Model) for layer in flat.layers)
        rows = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
        np.testing.assert_allclose(_predict(flat, rows), _predict(model, rows), rtol=1e-5)

    @pytest.mark.filterwarnings("ignore:Layer")
    def test_nested_model_with_a_mask_raises(self):
        inner = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(3)])
        inputs = keras.Input((6, 2))
        outputs = inner(inputs, mask=keras.ops.any(inputs > 0, axis=-1))
        with pytest.raises(InputError, match=r"on its inputs alone.*called on 2 tensors"):
            graph.inline(keras.Model(inputs, outputs), graph.share_layer)

    def test_two_layers_with_the_same_name_raise(self):
        def part(shape, units):
            return keras.Sequential([keras.Input(shape), keras.layers.Dense(units, name="twin")])

        model = keras.Sequential([keras.Input((4,)), part((4,), 5), part((5,), 3)], name="twins")
        with pytest.raises(InputError, match=r"unique layer names.*'twins'.*Rename"):
            graph.inline(model, graph.share_layer)

    def test_compiled_model_with_regularization(self, make_images):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(3, kernel_regularizer="l2", name="head")(x)
        model = keras.Model(inputs, x)
        model.compile(optimizer="adam", loss="mse")
        flat = graph.inline(model)
        assert flat.get_layer("head").kernel_regularizer is not None
        assert model.optimizer is not None


class TestTypedCopy:
    @staticmethod
    def _dtypes(model):
        # Without the input layer, which computes nothing.
        return {layer.name: layer.compute_dtype for layer in model.layers[1:]}

    def test_is_equivalent_with_its_own_weights(self, any_teacher, make_images):
        copy = graph.typed_copy(any_teacher)
        images = make_images(3)
        np.testing.assert_allclose(
            _predict(copy, images), _predict(any_teacher, images), rtol=1e-5, atol=1e-6
        )
        assert not {id(w) for w in copy.weights} & {id(w) for w in any_teacher.weights}
        assert not any(isinstance(layer, keras.Model) for layer in copy.layers)

    def test_float32_copy_of_a_mixed_precision_model(self, make_teacher, make_images):
        keras.config.set_dtype_policy("mixed_float16")
        model = make_teacher("batch_norm")
        assert model.get_layer("conv").compute_dtype == "float16"
        copy = graph.typed_copy(model)
        assert set(self._dtypes(copy).values()) == {"float32"}
        images = make_images(3)
        np.testing.assert_allclose(_predict(copy, images), _predict(model, images), atol=0.02)

    def test_bfloat16_except_for_the_last_layer_and_the_weights(self, any_teacher, make_images):
        copy = graph.typed_copy(any_teacher, "mixed_bfloat16")
        dtypes = self._dtypes(copy)
        last = copy.outputs[0]._keras_history.operation.name
        assert dtypes.pop(last) == "float32"
        assert set(dtypes.values()) == {"bfloat16"}
        assert {weight.dtype for weight in copy.weights} == {"float32"}
        for weight, expected in zip(copy.get_weights(), any_teacher.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, expected)
        images = make_images(3)
        found, expected = _predict(copy, images), _predict(any_teacher, images)
        assert found.dtype == np.float32
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 1e-5 < error < 0.05

    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
    def test_layers_in_wrappers_have_the_same_precision(self, dtype):
        half = {"dtype": "mixed_float16"}
        model = keras.Sequential(
            [
                keras.Input((4, 3)),
                keras.layers.TimeDistributed(keras.layers.Dense(5, **half), **half),
                keras.layers.Bidirectional(keras.layers.GRU(2, **half), **half),
                _dense(),
            ]
        )
        dense, gru, _ = graph.typed_copy(model, dtype).layers[1:]
        found = [dense.layer, gru.forward_layer, gru.backward_layer, gru.forward_layer.cell]
        expected = keras.DTypePolicy(dtype).compute_dtype
        assert [layer.compute_dtype for layer in found] == [expected] * 4

    def test_keeps_a_custom_function_with_the_name_of_a_keras_function(self, make_images):
        def relu(x):
            return 3.0 - 2.0 * x

        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Conv2D(2, 5, activation=relu)(inputs)
        x = keras.layers.Activation(relu)(x)
        model = keras.Model(inputs, _dense()(keras.layers.Flatten()(x)))
        images = make_images(3)
        np.testing.assert_allclose(
            _predict(graph.typed_copy(model), images), _predict(model, images), rtol=1e-5, atol=1e-5
        )

    def test_normalization_keeps_its_statistics(self, make_images):
        adapted = keras.layers.Normalization(axis=-1)
        adapted.adapt(255 * make_images(20))
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), adapted, keras.layers.Flatten(), _dense()]
        )
        images = 255 * make_images(3)
        np.testing.assert_allclose(
            _predict(graph.typed_copy(model), images), _predict(model, images), rtol=1e-5, atol=1e-6
        )
