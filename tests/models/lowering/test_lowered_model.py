"""Training a model in its faster form; the reference is Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_zskd.models.lowering.lowered_model import LoweredModel


def _model(dtype=None):
    keras.utils.set_random_seed(0)
    pixels = x = keras.Input((8, 8, 3))
    for width in (4, 20):
        y = layers.Conv2D(width, 3, padding="same", use_bias=False, dtype=dtype)(x)
        x = layers.ReLU(dtype=dtype)(layers.BatchNormalization(dtype=dtype)(y))
        x = layers.MaxPooling2D(dtype=dtype)(x)
    x = layers.Dense(5, kernel_regularizer="l2", dtype=dtype)(layers.Flatten(dtype=dtype)(x))
    return keras.Model(pixels, layers.Activation("linear", dtype="float32")(x))


def _train(model, **options):
    random = np.random.default_rng(1)
    images = random.uniform(size=(24, 8, 8, 3)).astype("float32")
    labels = random.integers(0, 5, 24)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    fitted = model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return {**fitted.history, **model.evaluate(images, labels, return_dict=True, verbose=0)}


@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=["default", "xla"])
def test_training_equals_keras(options):
    reference, model = _model(), _model()
    expected = _train(reference, jit_compile=False)
    found = _train(LoweredModel(model), **options)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3)
    for one, other in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_loss_of_a_float16_model_is_scaled():
    model = LoweredModel(_model("mixed_float16"))
    assert np.isfinite(_train(model)["loss"])
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_the_default_is_without_xla():
    model = LoweredModel(_model())
    model.compile("sgd", "mse")
    assert not model.jit_compile
    model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile
