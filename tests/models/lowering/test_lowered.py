import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_zskd.models import alexnet, graph, lenet5, lenet5_half
from keras_zskd.models.lowering.lowered import Lowered

BATCH = 3


@pytest.fixture(params=[False, True], ids=["as_written", "compiled"])
def compiled(request):
    return request.param


def _randomised(model, seed=0):
    """Random weights that reveal an error in the use of any of them, including signs."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape, name = variable.shape, variable.path.rsplit("/")[-1]
        if name == "kernel":
            value = rng.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape)
        elif name == "moving_variance":
            value = rng.uniform(0.3, 2.0, shape)
        else:
            value = rng.normal(0.0, 1.0, shape) * (2.0 if name == "gamma" else 0.5)
        variable.assign(value)
    return model


def _like(model, other):
    """`model` with the weights of `other`, layer by layer, by name."""
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(other.get_layer(layer.name).get_weights())
    return model


def _measure(function, x, weights, jit_compile=False):
    """Outputs, and gradients of their randomly weighted sum by the input and by `weights`."""

    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = tf.nest.flatten(function(x))
            rng = np.random.default_rng(7)
            loss = tf.add_n(
                [
                    tf.reduce_sum(tf.cast(out, tf.float32) * rng.normal(size=out.shape))
                    for out in outputs
                ]
            )
        gradients = tape.gradient(loss, [x, *(weight.value for weight in weights)])
        return outputs, gradients

    run = tf.function(run, jit_compile=True) if jit_compile else run
    outputs, gradients = run(x)
    names = ["input", *(weight.path for weight in weights)]
    found = {f"output {number}": out.numpy() for number, out in enumerate(outputs)}
    found |= {f"gradient by {n}": g.numpy() for n, g in zip(names, gradients, strict=True)}
    return found


def _assert_close(found, expected, tolerance=1e-4):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.abs(value).max() > 0, name
        scale = tolerance * np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=scale, err_msg=name)


def _images(model, seed=0):
    shape = (BATCH, *model.input_shape[1:])
    return tf.constant(np.random.default_rng(seed).uniform(size=shape).astype("float32"))


def _assert_equal(model, compiled, reference=None, outputs=None):
    """Outputs and all gradients of the lowered model are those of Keras."""
    x = _images(model)
    lowered = Lowered(model, outputs, compiled)
    tapped = reference or (model if outputs is None else keras.Model(model.inputs, outputs))
    expected = _measure(lambda x: tapped(x, training=False), x, tapped.trainable_weights)
    found = _measure(lowered, x, model.trainable_weights, jit_compile=compiled)
    _assert_close(found, expected)
    return lowered


def _geometries(lowered):
    """Block size of each convolution by layer name; None if it does not run on blocks."""
    plan = lowered._plan
    return {
        node.operation.name: getattr(plan.convolutions.get(id(node)), "block", None)
        for node in plan.nodes
        if isinstance(node.operation, layers.Conv2D)
    }


def _branches(shape, branches):
    """A model with one input and one output per branch."""
    inputs = keras.Input(shape)
    return _randomised(keras.Model(inputs, [branch(inputs) for branch in branches]))


class TestConvolutions:
    @staticmethod
    def _conv(kernel, stride, padding, number):
        return layers.Conv2D(
            3,
            kernel,
            stride,
            padding,
            use_bias=bool(number % 2),
            activation=(None, "relu", "tanh")[number % 3],
            name=f"conv{kernel}_{stride}_{padding}",
        )

    @pytest.mark.parametrize("padding", ["valid", "same"])
    def test_all_kernels_and_strides_on_an_image_that_is_not_square(self, padding, compiled):
        # The rest of the geometry is tested in test_blocked.
        cases = [(3, 1), (4, 1), (5, 1), (3, 2), (5, 2), (4, 4)]
        model = _branches(
            (16, 24, 3), [self._conv(*case, padding, n) for n, case in enumerate(cases)]
        )
        blocks = _geometries(_assert_equal(model, compiled))
        # Without padding, kernel 4 gives 13 x 21, a multiple of no block size but 1. There are no
        # blocks if they read more than 3 times as many pixels, such as 64 for 9 (3 with stride 2).
        expected = [2, 1, 2, 1, 2, 1] if padding == "valid" else [1, 2, 2, 1, 1, 1]
        assert [blocks[f"conv{k}_{stride}_{padding}"] for k, stride in cases] == expected

    def test_one_pixel(self, compiled):
        conv = layers.Conv2D(5, 1, activation="relu", name="pointwise")
        lowered = _assert_equal(_branches((6, 4, 3), [conv]), compiled)
        assert _geometries(lowered) == {"pointwise": 1}

    def test_an_activation_over_the_channels(self, compiled):
        # Blocks mix pixels and channels: a softmax over the channels must not see other pixels.
        model = _branches(
            (8, 8, 2),
            [
                layers.Conv2D(3, 5, padding="same", activation="softmax", name="inside"),
                lambda x: layers.MaxPooling2D()(
                    layers.Conv2D(3, 5, padding="same", activation="softmax", name="pooled")(x)
                ),
                lambda x: layers.MaxPooling2D()(
                    layers.Activation("softmax")(
                        layers.Conv2D(3, 5, padding="same", name="parallel")(x)
                    )
                ),
            ],
        )
        blocks = _geometries(_assert_equal(model, compiled))
        assert set(blocks.values()) <= {2, 4}

    def test_an_activation_that_is_not_increasing_is_applied_before_the_maximum(self, compiled):
        def falling(x):
            return -x

        model = _branches(
            (8, 8, 2),
            [
                lambda x: layers.MaxPooling2D()(
                    layers.Conv2D(3, 5, padding="same", activation=falling)(x)
                ),
                lambda x: layers.MaxPooling2D()(
                    layers.Conv2D(3, 5, padding="same", activation="silu")(x)
                ),
                lambda x: layers.MaxPooling2D()(
                    layers.ELU(-0.5)(layers.Conv2D(3, 5, padding="same")(x))
                ),
            ],
        )
        blocks = _geometries(_assert_equal(model, compiled))
        assert set(blocks.values()) <= {2, 4}

    def test_convolutions_that_are_not_changed(self):
        model = _branches(
            (8, 8, 2),
            [
                layers.Conv2D(3, (3, 5), name="oblong"),
                layers.Conv2D(3, 3, dilation_rate=2, name="dilated"),
                layers.Conv2D(4, 3, groups=2, name="grouped"),
                layers.Conv2D(3, 3, strides=3, name="by_three"),
                layers.DepthwiseConv2D(3, name="depthwise"),
            ],
        )
        blocks = _geometries(_assert_equal(model, False))
        assert set(blocks.values()) == {None}


class TestPooling:
    @staticmethod
    def _conv(number, activation=None, padding="same", **kwargs):
        return layers.Conv2D(
            3, 5, padding=padding, activation=activation, name=f"conv{number}", **kwargs
        )

    def test_after_a_convolution_with_bias_and_activation(self, compiled):
        maximum, mean = layers.MaxPooling2D, lambda: layers.AveragePooling2D(2)
        model = _branches(
            (8, 12, 2),
            [
                lambda x: maximum()(self._conv(0, "relu")(x)),
                lambda x: maximum()(self._conv(1, "tanh", use_bias=False)(x)),
                lambda x: maximum()(layers.LeakyReLU()(self._conv(2)(x))),
                lambda x: maximum()(layers.ReLU(max_value=1.0)(self._conv(3, "tanh")(x))),
                lambda x: mean()(self._conv(4, "relu")(x)),
                lambda x: mean()(layers.Activation("sigmoid")(self._conv(5)(x))),
                lambda x: maximum()(maximum()(self._conv(6, "elu", "valid")(x))),
                lambda x: mean()(maximum()(self._conv(7, "relu", "valid")(x))),
            ],
        )
        blocks = _geometries(_assert_equal(model, compiled))
        assert None not in blocks.values()
        assert blocks["conv6"] == blocks["conv7"] == 4

    def test_between_two_convolutions_on_blocks(self, compiled):
        def chain(x):
            x = layers.MaxPooling2D()(self._conv(0, "relu", "valid")(x))
            return layers.AveragePooling2D(2)(self._conv(1, "tanh")(x))

        blocks = _geometries(_assert_equal(_branches((16, 24, 1), [chain]), compiled))
        assert blocks == {"conv0": 4, "conv1": 2}

    def test_on_plain_maps(self, compiled):
        model = _branches(
            (8, 12, 3),
            [
                layers.MaxPooling2D(),
                layers.AveragePooling2D(2),
                layers.MaxPooling2D(padding="same"),
                layers.MaxPooling2D(3, 2),  # Not 2x2 with stride 2: run by Keras.
                layers.MaxPooling2D(2, 1),
                lambda x: layers.MaxPooling2D()(layers.Conv2D(20, 3, padding="same")(x)),
            ],
        )
        lowered = _assert_equal(model, compiled)
        # Without XLA, the pooling of TensorFlow is as fast.
        assert len(lowered._plan.pooled) == (4 if compiled else 0)

    def test_on_an_odd_height(self, compiled):
        _assert_equal(_branches((7, 8, 2), [layers.MaxPooling2D()]), compiled)

    @pytest.mark.parametrize("activation", [None, "relu"])
    def test_the_first_of_equal_values_gets_the_gradient_on_a_constant_image(
        self, compiled, activation
    ):
        model = keras.Sequential(
            [
                keras.Input((12, 12, 1)),
                layers.Conv2D(4, 5, activation=activation, name="conv"),
                layers.MaxPooling2D(name="pool"),
            ]
        )
        # Integers: sums are exact in any order, and equal values stay equal.
        rng = np.random.default_rng(0)
        model.set_weights([rng.integers(-3, 9, (5, 5, 1, 4)), rng.integers(-2, 3, 4)])
        x = tf.ones((2, 12, 12, 1))
        weights = model.trainable_weights
        model = keras.Model(model.inputs, model.outputs)
        expected = _measure(model, x, weights)
        lowered = Lowered(model, compiled=compiled)
        assert _geometries(lowered) == {"conv": 2}
        _assert_close(_measure(lowered, x, weights, jit_compile=compiled), expected, 1e-5)
        # The last one would give another gradient.
        flipped = _measure(
            lambda x: model(x[:, ::-1, ::-1])[:, ::-1, ::-1],
            x,
            [],
        )
        assert not np.allclose(flipped["gradient by input"], expected["gradient by input"])


class TestBatchNormalization:
    @pytest.fixture
    def model(self):
        def branch(number, channels, act, **changes):
            settings = {"use_bias": True, "scale": True, "center": True, **changes}

            def build(x):
                x = layers.Conv2D(
                    channels, 3, padding="same", use_bias=settings["use_bias"], name=f"conv{number}"
                )(x)
                x = layers.BatchNormalization(
                    epsilon=0.01, scale=settings["scale"], center=settings["center"],
                    name=f"bn{number}",
                )(x)  # fmt: skip
                return layers.MaxPooling2D()(act(x))

            return build

        return _branches(
            (8, 8, 2),
            [
                branch(0, 3, layers.ReLU()),
                branch(1, 3, layers.LeakyReLU(), use_bias=False),
                branch(2, 5, layers.Activation("tanh"), scale=False),
                branch(3, 5, layers.Identity(), center=False, use_bias=False),
                branch(4, 3, layers.Softmax(), scale=False, center=False),
            ],
        )

    def test_after_a_convolution_is_folded(self, model, compiled):
        lowered = _assert_equal(model, compiled)
        assert len(lowered._plan.folded) == len(lowered._plan.skipped) == 5

    def test_after_a_convolution_with_many_channels_is_folded(self):
        def branch(x):
            x = layers.Conv2D(20, 3, name="wide")(x)
            return layers.BatchNormalization(name="bn")(layers.Conv2D(4, 3, name="deep")(x))

        lowered = _assert_equal(_branches((8, 8, 3), [branch]), False)
        assert _geometries(lowered)["deep"] is None
        assert len(lowered._plan.folded) == 1

    def test_elsewhere_is_called_unchanged(self):
        def after_activation(x):
            return layers.BatchNormalization(name="a")(layers.Conv2D(3, 3, activation="relu")(x))

        def of_another_axis(x):
            return layers.BatchNormalization(axis=1, name="b")(layers.Conv2D(3, 3)(x))

        def read_twice(x):
            x = layers.Conv2D(3, 3)(x)
            return layers.Add()([layers.BatchNormalization(name="c")(x), x])

        def of_an_input(x):
            return layers.Conv2D(3, 3)(layers.BatchNormalization(name="d")(x))

        def of_dense(x):
            return layers.BatchNormalization(name="e")(layers.Dense(4)(layers.Flatten()(x)))

        branches = [after_activation, of_another_axis, read_twice, of_an_input, of_dense]
        lowered = _assert_equal(_branches((8, 8, 2), branches), False)
        assert lowered._plan.folded == {}

    def test_precomputed_weights_can_be_reused(self, model):
        lowered = Lowered(model)
        x = _images(model)
        before = [value.numpy() for value in lowered(x)]
        weights = lowered.weights()
        assert len(weights) == 5
        _randomised(model, seed=1)
        for found, expected in zip(lowered(x, weights), before, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_frozen_weights_are_those_at_tracing(self, jit_compile):
        inputs = keras.Input((8, 8, 2))
        x = layers.Conv2D(3, 5, padding="same", name="conv")(inputs)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization(name="bn")(x)))
        x = layers.Conv2D(20, 3, name="wide")(x)
        model = _randomised(keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x)))
        x = _images(model)
        expected = _measure(lambda x: model(x, training=False), x, [])
        lowered = Lowered(model, compiled=jit_compile, frozen=True)
        assert len(lowered._plan.folded) == 1
        _assert_close(_measure(lowered, x, [], jit_compile=jit_compile), expected)
        run = tf.function(lowered, jit_compile=jit_compile)
        before = run(x)[0].numpy()
        for name in ("conv", "bn"):
            model.get_layer(name).set_weights([2 * w for w in model.get_layer(name).get_weights()])
        np.testing.assert_array_equal(run(x)[0], before)
        # A new trace uses the current weights.
        again = tf.function(lowered, jit_compile=jit_compile)(x)[0]
        np.testing.assert_allclose(again, model(x), rtol=1e-3, atol=1e-3)
        assert np.abs(again - before).max() > 0.1

    def test_weights_are_read_at_each_call(self, model):
        lowered = Lowered(model)
        x = _images(model)
        before = [value.numpy() for value in lowered(x)]
        _randomised(model, seed=1)
        for now, then, expected in zip(lowered(x), before, model(x), strict=True):
            np.testing.assert_allclose(now, expected, rtol=1e-4, atol=1e-4)
            assert np.abs(now - then).max() > 0.1


class TestGraph:
    def test_a_strided_1x1_convolution(self, compiled):
        def build(is_reference):
            def branch(number, channels, strides, norm):
                def call(x):
                    x = layers.Conv2D(channels, 3, padding="same", name=f"before{number}")(x)
                    if is_reference:
                        # The gradient of the strided convolution in TensorFlow 2.21 writes outside
                        # of its memory on a CPU, so it cannot be the reference.
                        x = x[:, :: strides[0], :: strides[1]]
                        x = layers.Conv2D(4, 1, name=f"conv{number}")(x)
                    else:
                        x = layers.Conv2D(4, 1, strides, name=f"conv{number}")(x)
                    return layers.BatchNormalization(name=f"bn{number}")(x) if norm else x

                return call

            return _branches(
                (8, 9, 2),
                [
                    branch(0, 3, (2, 2), True),
                    branch(1, 20, (2, 2), True),
                    branch(2, 20, (2, 2), False),
                    branch(3, 3, (4, 4), False),
                    branch(4, 20, (1, 3), False),
                ],
            )

        model = build(False)
        _assert_equal(model, compiled, reference=_like(build(True), model))

    def test_shared_layers(self, compiled):
        inputs = keras.Input((8, 8, 2))
        conv = layers.Conv2D(2, 3, padding="same", activation="tanh", name="conv")
        norm = layers.BatchNormalization(name="bn")
        bare = layers.Conv2D(2, 5, padding="same", name="bare")
        x = conv(conv(inputs))
        a, b = norm(bare(x)), norm(bare(inputs))
        pooled = layers.MaxPooling2D(name="pool")
        model = keras.Model(inputs, [pooled(a), pooled(b), pooled(x)])
        lowered = _assert_equal(_randomised(model), compiled)
        assert len(lowered._plan.folded) == 2

    def test_addition_of_two_maps_in_blocks(self, compiled):
        def branch(x):
            a = layers.Conv2D(3, 5, padding="same", activation="relu", name="a")(x)
            b = layers.Conv2D(3, 3, padding="same", name="b")(x)
            joined = layers.Add()([a, b])
            return layers.Concatenate()([layers.MaxPooling2D()(joined), x[:, ::2, ::2]])

        _assert_equal(_branches((8, 8, 2), [branch]), compiled)

    def test_a_hidden_tensor_as_output(self, compiled):
        inputs = keras.Input((8, 8, 2))
        before = layers.Conv2D(3, 5, padding="same", name="first")(inputs)
        normed = layers.BatchNormalization(name="bn1")(before)
        x = layers.MaxPooling2D()(layers.ReLU()(normed))
        second = layers.Conv2D(3, 3, padding="same", name="second")(x)
        active = layers.ReLU()(layers.BatchNormalization(name="bn2")(second))
        pooled = layers.MaxPooling2D()(active)
        model = _randomised(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(pooled))))
        logits = model.outputs[0]
        # The input of the first batch normalization, as used by a prior.
        lowered = _assert_equal(model, compiled, outputs=[logits, before])
        assert [norm.name for norm in lowered._plan.folded.values()] == ["bn2"]
        # The output of a folded one, a postponed activation, and a map in between.
        lowered = _assert_equal(model, False, outputs=[normed, x, active, logits])
        assert len(lowered._plan.folded) == 2

    def test_various_operations_and_layers(self):
        def branch(x):
            x = layers.ZeroPadding2D(2)(layers.Rescaling(2.0, -1.0)(x))
            x = layers.MaxPooling2D()(layers.Conv2D(4, 5, activation="relu", name="conv")(x))
            x = keras.ops.relu(x) + 0.5
            x = layers.Dropout(0.5)(layers.Flatten()(x))
            return keras.ops.concatenate([layers.Dense(3, name="head")(x), x[:, :2]], axis=-1)

        _assert_equal(_branches((8, 8, 2), [branch]), False)

    def test_any_batch_size(self, compiled):
        model = _randomised(lenet5(input_shape=(16, 16, 1)))
        lowered = Lowered(model, compiled=compiled)
        run = tf.function(lowered, input_signature=[tf.TensorSpec((None, 16, 16, 1))])
        for count in (0, 1, 5):
            x = np.random.default_rng(0).uniform(size=(count, 16, 16, 1)).astype("float32")
            (logits,) = run(x)
            assert logits.shape == (count, 10)
            if not count:
                continue  # Keras fails with an empty batch.
            np.testing.assert_allclose(logits, model(x), rtol=1e-4, atol=1e-4)


def _residual(shape=(8, 12, 3), channels=5, is_reference=False, is_deep=True):
    """One or two residual blocks as in ResNet, the last with a strided 1x1 shortcut."""

    def norm(x, name, active=True):
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_relu")(x) if active else x

    def conv(x, filters, kernel, stride, name):
        if is_reference and kernel == 1 and stride > 1:
            x, stride = x[:, ::stride, ::stride], 1
        return layers.Conv2D(filters, kernel, stride, "same", use_bias=False, name=name)(x)

    inputs = keras.Input(shape)
    x = norm(conv(inputs, channels, 3, 1, "stem"), "stem")
    blocks = (("a", channels, 1), ("b", 2 * channels, 2))
    for name, filters, stride in blocks if is_deep else blocks[1:]:
        y = norm(conv(x, filters, 3, stride, f"{name}1"), f"{name}1")
        y = norm(conv(y, filters, 3, 1, f"{name}2"), f"{name}2", active=False)
        if stride > 1:
            x = norm(conv(x, filters, 1, stride, f"{name}0"), f"{name}0", active=False)
        x = layers.ReLU(name=f"{name}_end")(layers.Add(name=f"{name}_add")([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return _randomised(keras.Model(inputs, layers.Dense(5, name="head")(x)))


class TestNetworks:
    @pytest.mark.parametrize("build", [lenet5, lenet5_half])
    def test_lenet(self, build, compiled):
        blocks = _geometries(_assert_equal(_randomised(build()), compiled))
        assert blocks["conv1"] in (2, 4)

    def test_alexnet(self, compiled):
        _assert_equal(_randomised(alexnet()), compiled)

    def test_residual_network(self, compiled):
        model, reference = _residual(), _residual(is_reference=True)
        lowered = _assert_equal(model, compiled, reference=_like(reference, model))
        assert len(lowered._plan.folded) == 6

    def test_bfloat16(self):
        model = _randomised(lenet5_half(input_shape=(16, 16, 1)))
        half = graph.typed_copy(model, "mixed_bfloat16")
        x = _images(model)
        lowered = Lowered(half)
        assert lowered(x)[0].dtype == tf.float32  # Logits, as in Keras.

        def errors(function):
            found = _measure(function, x, half.trainable_weights).values()
            pairs = zip(found, exact, strict=True)
            return np.array([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])

        # As accurate as bfloat16 in Keras, but not float32.
        exact = list(_measure(model, x, model.trainable_weights).values())
        own, of_keras = errors(lowered), errors(half)
        assert own[0] > 1e-3
        np.testing.assert_array_less(own, 1.2 * of_keras + 0.01)


class TestTraining:
    def test_matches_keras(self, compiled):
        # Uses the statistics of the batch, updates the moving ones, trains the same weights.
        model = _residual(is_deep=False)
        reference = _residual(is_deep=False, is_reference=True)
        _like(reference, model)
        x = _images(model)
        expected = _measure(lambda x: reference(x, training=True), x, reference.trainable_weights)
        lowered = Lowered(model, compiled=compiled, training=True)
        assert lowered._plan.folded == {}
        assert len(lowered._plan.convolutions) > 1
        found = _measure(lowered, x, model.trainable_weights, jit_compile=compiled)
        _assert_close(found, expected, 1e-3)
        before = {v.path: v.numpy() for v in _residual(is_deep=False).non_trainable_variables}
        kept = {v.path: v.numpy() for v in reference.non_trainable_variables}
        for variable in model.non_trainable_variables:
            if "moving" in variable.path:
                np.testing.assert_allclose(variable, kept[variable.path], rtol=1e-4, atol=1e-5)
                assert np.abs(variable.numpy() - before[variable.path]).max() > 1e-4

    def test_dropout_is_active(self):
        model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5)])
        x = tf.ones((50, 4))
        assert set(np.unique(Lowered(model, training=True)(x)[0])) == {0.0, 2.0}
        np.testing.assert_array_equal(Lowered(model)(x)[0], x)

    def test_inference_does_not_change_the_statistics(self, compiled):
        model = _residual(is_deep=False)
        before = model.get_weights()
        Lowered(model, compiled=compiled)(_images(model))
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


def relu(x):
    """A custom function with the name of a standard one."""
    return tf.nn.relu(x) - 0.5 * tf.square(x)


def tanh(x):
    return 0.1 * tf.math.sin(3.0 * x)


class _OwnNormalization(layers.BatchNormalization):
    def call(self, x, training=None, mask=None):
        return 2.0 * super().call(x, training=training, mask=mask) + 1.0


class _OwnMaxPooling(layers.MaxPooling2D):
    def call(self, x):
        return -super().call(-x)


class _OwnAveragePooling(layers.AveragePooling2D):
    def call(self, x):
        return 3.0 * super().call(x)


class _OwnReLU(layers.ReLU):
    def call(self, x):
        return -super().call(x)


_OWN = {
    "batch_normalization": lambda: ["linear", _OwnNormalization(), "relu", layers.MaxPooling2D()],
    "max_pooling": lambda: ["relu", _OwnMaxPooling()],
    "average_pooling": lambda: ["relu", _OwnAveragePooling(2)],
    "relu_layer": lambda: ["linear", _OwnReLU(), layers.MaxPooling2D()],
    "function_relu": lambda: [relu, layers.MaxPooling2D()],
    "function_tanh": lambda: [tanh, layers.MaxPooling2D()],
    "activation_relu": lambda: ["linear", layers.Activation(relu), layers.MaxPooling2D()],
    "activation_tanh": lambda: ["linear", layers.Activation(tanh), layers.MaxPooling2D()],
}


@pytest.mark.parametrize("kind", _OWN)
def test_custom_layers_and_functions_are_called_unchanged(kind, compiled):
    activation, *behind = _OWN[kind]()
    pixels = keras.Input((16, 16, 1))
    x = layers.Conv2D(4, 5, padding="same", activation=activation)(pixels)
    for layer in behind:
        x = layers.Activation(layer)(x) if isinstance(layer, str) else layer(x)
    model = _randomised(keras.Model(pixels, layers.Dense(3)(layers.Flatten()(x))))
    images = np.random.default_rng(1).random((BATCH, 16, 16, 1)).astype("float32")
    expected = model(images, training=False).numpy()
    (found,) = Lowered(model, compiled=compiled)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
