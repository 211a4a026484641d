"""Normalizations in few passes; the references are TensorFlow and Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.models.lowering.norms import (
    has_fused_training,
    moments,
    normalize_batch,
    normalize_response,
    scale_and_shift,
)


def _both(function, x, upstream):
    """Value, and gradient with respect to `x`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(y, x, upstream)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize(
    "settings", [(2, 1.0, 1e-4, 0.75), (1, 1.5, 0.5, 0.6), (0, 2.0, 0.3, 1.0), (9, 1.0, 0.1, 0.5)]
)
def test_equals_tensorflow(settings, mode):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(size=(2, 3, 4, 7)).astype("float32") * 5)
    upstream = tf.constant(random.normal(size=x.shape).astype("float32"))
    expected = _both(lambda x: tf.nn.local_response_normalization(x, *settings), x, upstream)

    def run(x, upstream):
        return _both(lambda x: normalize_response(x, *settings), x, upstream)

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla")
    for found, wanted in zip(run(x, upstream), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_are_computed_in_float32(dtype):
    # 400^2 overflows float16.
    x = tf.cast(400.0 * np.random.default_rng(0).uniform(size=(1, 2, 2, 6)), dtype)
    settings = (2, 1.0, 1e-2, 0.75)
    found = _both(lambda x: normalize_response(x, *settings), x, tf.ones_like(x))
    wide = tf.cast(x, tf.float32)
    expected = _both(
        lambda x: tf.nn.local_response_normalization(x, *settings), wide, tf.ones_like(wide)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(tf.cast(one, tf.float32)), other, rtol=0.02, atol=0.02
        )


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scale_and_shift_has_all_gradients(mode, dtype):
    random = np.random.default_rng(1)
    x, upstream = (tf.cast(random.normal(size=(2, 3, 4, 5)), dtype) for _ in range(2))
    scale, offset = (tf.constant(random.normal(size=5).astype("float32")) for _ in range(2))

    def run(x, scale, offset, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, scale, offset])
            y = scale_and_shift(x, scale, offset)
        return y, *tape.gradient(y, [x, scale, offset], upstream)

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla")
    found = [np.asarray(tf.cast(v, tf.float32)) for v in run(x, scale, offset, upstream)]
    x, upstream, scale, offset = (
        np.asarray(tf.cast(v, tf.float32)) for v in (x, upstream, scale, offset)
    )
    axes = (0, 1, 2)
    expected = scale * x + offset, upstream * scale, (upstream * x).sum(axes), upstream.sum(axes)
    tolerance = 1e-5 if dtype == "float32" else 0.01
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_moments_equal_tensorflow(mode):
    random = np.random.default_rng(2)
    x = tf.constant(3.0 + random.normal(size=(2, 7, 5)).astype("float32"))
    by_mean, by_variance = (tf.constant(random.normal(size=(2, 5)).astype("float32")) for _ in "ab")

    def measure(function, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            mean, variance = function(x)
        return mean, variance, tape.gradient((mean, variance), x, (by_mean, by_variance))

    expected = measure(lambda x: tf.nn.moments(x, axes=[1]), x)

    def run(x):
        return measure(moments, x)

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla")
    for one, other in zip(run(x), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def _norm(shape=(6, 3, 4, 5), **settings):
    layer = keras.layers.BatchNormalization(**settings)
    layer.build(shape)
    random = np.random.default_rng(2)
    layer.set_weights([random.uniform(0.5, 2.0, weight.shape) for weight in layer.weights])
    return layer


@pytest.mark.parametrize("shape", [(6, 3, 4, 5), (2, 1, 1, 5), (1, 1, 1, 5)])
@pytest.mark.parametrize(
    "settings",
    [{}, {"momentum": 0.8, "epsilon": 1e-5}, {"scale": False}, {"center": False, "axis": 3}],
    ids=str,
)
def test_batch_normalization_in_training_equals_keras(settings, shape):
    random = np.random.default_rng(3)
    x, upstream = (tf.constant(random.normal(1.0, 3.0, shape).astype("float32")) for _ in range(2))
    results = []
    for call in (
        lambda layer, x: layer(x, training=True),
        lambda layer, x: normalize_batch(x, layer),
    ):
        layer = _norm(shape, **settings)
        assert has_fused_training(layer)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.function(call, autograph=False)(layer, x)
        wanted = [x, *(v.value for v in layer.trainable_variables)]
        results.append([y, *tape.gradient(y, wanted, upstream), *layer.non_trainable_variables])
    for found, expected in zip(*results[::-1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        _norm(axis=1),
        _norm((6, 5)),
        _norm(renorm=True),
        _norm(synchronized=True),
        _norm(trainable=False),
        _norm(dtype="mixed_bfloat16"),
        type("Own", (keras.layers.BatchNormalization,), {})(),
        keras.layers.LayerNormalization(),
    ],
    ids=["axis", "rows", "renorm", "synchronized", "frozen", "half", "subclass", "other"],
)
def test_other_normalizations_are_not_fused(layer):
    assert not has_fused_training(layer)
