import math

import keras
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models import ARCHITECTURES, lenet5, lenet5_half


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (lenet5, 61_706),
        (lenet5_half, 35_820),
        (lambda: lenet5_half("zskd"), 35_820),
        (lambda: lenet5_half("dafl"), 15_738),
    ],
)
def test_sizes_are_the_published_ones(model, parameters):
    assert model().count_params() == parameters


def test_shapes_follow_the_arguments():
    model = lenet5(num_classes=7, input_shape=(28, 28, 3))
    assert model.input_shape == (None, 28, 28, 3)
    assert model.output_shape == (None, 7)


def test_logits_are_float32_under_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = lenet5_half("dafl")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert model.get_layer("conv1").compute_dtype == "float16"
    assert model.output.dtype == "float32"
    assert model.get_layer("logits").activation is keras.activations.linear


def test_unknown_variant_raises():
    with pytest.raises(InputError, match=r"`variant` must be .*35,820.*15,738.*'third'"):
        lenet5_half("third")


def test_sizes_of_all_architectures():
    trainable = {
        name: sum(math.prod(weight.shape) for weight in build().trainable_weights)
        for name, build in ARCHITECTURES.items()
    }
    assert trainable == {
        "lenet5": 61_706,
        "lenet5-half": 35_820,
        "lenet5-half-dafl": 15_738,
        "alexnet": 1_659_178,
        "alexnet-half": 417_434,
        "resnet20": 272_474,
    }
    assert ARCHITECTURES["lenet5-half-dafl"](num_classes=3).output_shape == (None, 3)
