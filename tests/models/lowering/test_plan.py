import keras
import pytest
from keras import layers

from keras_zskd.models import alexnet, lenet5, lenet5_half
from keras_zskd.models.lowering.plan import (
    Plan,
    compiles_well,
    is_2x2_pooling,
    is_increasing,
    is_pointwise,
)


def _model(shape, *stack):
    model = keras.Sequential([keras.Input(shape), *stack])
    return keras.Model(model.inputs, model.outputs)


def _plan(model, compiled=False):
    return Plan(model, compiled, fold=True)


def _blocks(model, compiled=False):
    """Block size of each convolution, in order; None if it does not run on blocks."""
    plan = _plan(model, compiled)
    return [
        getattr(plan.convolutions.get(id(node)), "block", None)
        for node in plan.nodes
        if isinstance(node.operation, layers.Conv2D)
    ]


def _conv(filters=3, kernel=5, **kwargs):
    return layers.Conv2D(filters, kernel, **kwargs)


class TestBlocks:
    def test_size_depends_on_the_next_layers(self):
        # A pooling needs 2, two in a row 4, and 4 is the maximum. A pooling before a convolution on
        # blocks of 2 needs 4 as well.
        pool = layers.MaxPooling2D
        assert _blocks(_model((20, 20, 1), _conv(), pool())) == [2]
        assert _blocks(_model((20, 20, 1), _conv(), layers.ReLU(), pool(), pool())) == [4]
        assert _blocks(_model((36, 36, 1), _conv(), pool(), pool(), pool())) == [4]
        assert _blocks(_model((20, 20, 1), _conv(), pool(), _conv(), pool())) == [4, 2]
        assert _blocks(_model((20, 20, 1), _conv(), layers.BatchNormalization(), pool())) == [2]

    @pytest.mark.parametrize(
        ("shape", "block"), [((16, 8, 1), 2), ((12, 10, 1), 2), ((13, 8, 1), 1), ((12, 9, 1), 1)]
    )
    def test_divide_height_and_width(self, shape, block):
        assert _blocks(_model(shape, _conv(padding="same"), layers.ReLU())) == [block]

    def test_waste_is_limited(self):
        # On padded blocks of 2, kernel 3 reads 36 pixels for 9, and kernel 5 reads 36 for 25.
        assert _blocks(_model((8, 8, 1), _conv(kernel=3, padding="same"))) == [1]
        assert _blocks(_model((8, 8, 1), _conv(kernel=5, padding="same"))) == [2]

    @pytest.mark.parametrize(
        ("channels", "compiled", "on_blocks"),
        [(4, False, True), (5, False, False), (16, True, True), (17, True, False)],
    )
    def test_only_for_few_channels(self, channels, compiled, on_blocks):
        model = _model((8, 8, channels), _conv(padding="same"))
        assert (_blocks(model, compiled) != [None]) == on_blocks

    @pytest.mark.parametrize(
        "convolution",
        [
            layers.Conv2D(3, (3, 5)),
            layers.Conv2D(3, 3, strides=(1, 2)),
            layers.Conv2D(3, 3, strides=3),
            layers.Conv2D(3, 3, dilation_rate=2),
            layers.Conv2D(4, 3, groups=2),
            layers.Conv2DTranspose(3, 3),
            layers.DepthwiseConv2D(3),
            layers.SeparableConv2D(3, 3),
        ],
        ids=lambda layer: layer.name,
    )
    def test_only_for_plain_convolutions(self, convolution):
        assert _plan(_model((9, 9, 2), convolution)).convolutions == {}

    def test_not_for_lora(self):
        convolution = _conv(padding="same")
        model = _model((8, 8, 1), convolution)
        convolution.enable_lora(2)
        assert _plan(model).convolutions == {}

    def test_none_for_an_unknown_image_size(self):
        model = _model((None, None, 1), _conv(), layers.MaxPooling2D())
        assert _blocks(model) == [None]

    def test_a_strided_1x1_convolution_is_always_planned(self):
        model = _model((8, 8, 32), layers.Conv2D(4, 1, strides=2))
        assert list(_plan(model).convolutions.values()) == [None]


class TestFolding:
    def _folded(self, *stack, fold=True, outputs=None):
        model = _model((8, 8, 2), *stack)
        tensors = model.outputs if outputs is None else outputs(model)
        plan = Plan(keras.Model(model.inputs, tensors), False, fold)
        assert len(plan.folded) == len(plan.skipped)
        return [norm.name for norm in plan.folded.values()]

    def test_batch_normalization_after_a_convolution(self):
        stack = (_conv(), layers.BatchNormalization(name="bn"), layers.ReLU())
        assert self._folded(*stack) == ["bn"]

    def test_not_in_training(self):
        assert self._folded(_conv(), layers.BatchNormalization(), fold=False) == []

    @pytest.mark.parametrize(
        "stack",
        [
            (_conv(activation="relu"), layers.BatchNormalization()),
            (_conv(), layers.ReLU(), layers.BatchNormalization()),
            (_conv(), layers.BatchNormalization(axis=1)),
            (_conv(), layers.LayerNormalization()),
            (layers.DepthwiseConv2D(3), layers.BatchNormalization()),
        ],
        ids=["activation", "layer between", "axis", "another kind", "another convolution"],
    )
    def test_not_other_stacks(self, stack):
        assert self._folded(*stack) == []

    def test_not_if_the_tensor_in_between_is_used(self):
        def with_tap(model):
            return [model.get_layer("conv").output, *model.outputs]

        stack = (_conv(name="conv"), layers.BatchNormalization())
        assert self._folded(*stack, outputs=with_tap) == []


class TestCompilesWell:
    @pytest.mark.parametrize(
        "model",
        [
            lenet5(),
            lenet5_half(),
            _model((4,), layers.Dense(3, activation="relu"), layers.Dense(2)),
            _model(
                (16, 16, 3), layers.Rescaling(2.0), _conv(8, 3, padding="same"),
                layers.BatchNormalization(), layers.LeakyReLU(), layers.AveragePooling2D(2),
                layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(3),
            ),
        ],
        ids=["lenet5", "lenet5_half", "dense", "small"],
    )  # fmt: skip
    def test_models_with_few_input_channels(self, model):
        assert compiles_well(model)
        has_norms = any(isinstance(n, layers.BatchNormalization) for n in model.layers)
        assert compiles_well(model, training=True) != has_norms

    @pytest.mark.parametrize(
        "model",
        [
            alexnet(),
            _model((8, 8, 32), _conv()),
            _model((8, 8, 1), layers.DepthwiseConv2D(3)),
            _model((8, 8, 1), layers.MaxPooling2D(3, 2)),
            _model((9, 9, 1), layers.MaxPooling2D()),
            _model((8, 8, 1), _conv(3, (3, 5))),
            _model((8, 8, 1), layers.PReLU()),
            _model((4,), type("Own", (layers.Dense,), {})(3)),
        ],
        ids=[
            "alexnet", "many channels", "depthwise", "pooling 3x3", "odd", "oblong", "unknown",
            "subclass",
        ],
    )  # fmt: skip
    def test_not_with_layers_that_xla_is_slow_at(self, model):
        assert not compiles_well(model)


class TestLayers:
    @staticmethod
    def _node(layer, shape=(8, 8, 2)):
        (node,) = _plan(_model(shape, layer)).nodes
        return node

    @pytest.mark.parametrize("kind", [layers.MaxPooling2D, layers.AveragePooling2D])
    def test_2x2_pooling(self, kind):
        assert is_2x2_pooling(self._node(kind(2)))
        assert is_2x2_pooling(self._node(kind((2, 2), padding="same")))
        assert is_2x2_pooling(self._node(kind(2), (4, 6, 1)))
        for layer in (kind(3), kind(2, strides=1), kind((2, 1)), kind(2, strides=(2, 1))):
            assert not is_2x2_pooling(self._node(layer))
        assert not is_2x2_pooling(self._node(kind(2), (7, 8, 1)))
        assert not is_2x2_pooling(self._node(kind(2), (8, None, 1)))
        assert not is_2x2_pooling(self._node(layers.GlobalMaxPooling2D()))

    @pytest.mark.parametrize(
        ("layer", "pointwise", "increasing"),
        [
            (layers.Activation("relu"), True, True),
            (layers.Activation("tanh"), True, True),
            (layers.Activation("softmax"), False, False),
            (layers.Activation("silu"), False, False),
            (layers.Activation(lambda x: -x), False, False),
            (layers.ReLU(), True, True),
            (layers.ReLU(max_value=6.0), True, True),
            (layers.ReLU(threshold=0.5), True, False),
            (layers.LeakyReLU(), True, True),
            (layers.ELU(), True, True),
            (layers.ELU(-1.0), True, False),
            (layers.PReLU(), False, False),
            (layers.Softmax(), False, False),
            (_conv(activation="relu"), False, True),
            (_conv(activation="softmax"), False, False),
            (_conv(activation=layers.LeakyReLU()), False, False),
        ],
    )
    def test_activations(self, layer, pointwise, increasing):
        assert is_pointwise(layer) == pointwise
        assert is_increasing(layer) == increasing
