"""The formats that `inspect` reports before any training."""

import importlib.util
import os
import re

import keras
import pytest

from keras_zskd import Teacher
from keras_zskd.core.errors import InputError
from keras_zskd.deploy import format_trials as formats
from keras_zskd.deploy.format_trials import TRIED, possible_formats
from keras_zskd.jobs import exporting

layers = keras.layers


def teacher(body=lambda x: x):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 1))
    x = layers.Flatten()(body(layers.Conv2D(8, 3)(pixels)))
    return Teacher(keras.Model(pixels, layers.Dense(4)(x)), (0.0, 1.0))


def test_a_plain_network_supports_every_format(capfd):
    os.write(2, b"before ")
    found = possible_formats(teacher())
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"
    assert tuple(found) == TRIED
    if importlib.util.find_spec("tf2onnx") is None:
        assert "pip install keras-zskd[onnx]" in found.pop("onnx")
    assert set(found.values()) == {"yes"}


def test_a_layer_without_integer_kernels_excludes_only_integers():
    found = possible_formats(teacher(layers.LayerNormalization(name="norm")))
    assert found["saved_model"] == found["litert"] == found["litert_mixed"] == "yes"
    assert "cannot execute" in found["litert_int16x8"]
    assert found["litert_int8"].startswith("no: Model")
    assert "no full-integer form: LiteRT would compute" in found["litert_int8"]
    assert "norm" in found["litert_int8"]


@pytest.mark.parametrize("is_narrow", [True, False])
def test_a_layer_without_builtin_operators_excludes_both(monkeypatch, is_narrow):
    tried = []
    if not is_narrow:

        def refuse(model, width):
            raise InputError("cannot be narrowed")

        monkeypatch.setattr(formats, "slim", refuse)
    export = formats.export

    def spy(model, *arguments, **settings):
        tried.append(model.count_params())
        return export(model, *arguments, **settings)

    monkeypatch.setattr(formats, "export", spy)
    found = possible_formats(teacher(layers.Resizing(4, 4, interpolation="bicubic")))
    assert found["saved_model"] == "yes"
    for name in ("litert", "litert_int8", "litert_int16x8"):
        assert found[name].startswith("no: Model")
        assert "(needs ResizeBicubic)" in found[name]
    # 9 weights and a bias for each of 4 or 8 channels; 16 pixels of each to 4 classes.
    assert set(tried) == {4 * 10 + 4 * 16 * 4 + 4 if is_narrow else 8 * 10 + 8 * 16 * 4 + 4}


def volume(x):
    return layers.Reshape((6, 6, 8, 1))(x)


def sequence(x):
    return layers.Reshape((36, 8))(x)


FLOAT = {"litert_int8": "no full-integer form: LiteRT would compute .*this"}
NO_BUILTIN = {"litert": "needs MaxPool3D", "litert_int8": "needs MaxPool3D"}
LOOP = {"litert_int8": "inside a loop"}
KINDS = {
    "layer": (lambda x: layers.LayerNormalization(name="this")(x), FLOAT),
    # One channel gives only zeros, so the scales are NaN and preparing the file would crash.
    "one channel": (lambda x: layers.LayerNormalization(name="this")(x[..., :1]), FLOAT),
    "group": (lambda x: layers.GroupNormalization(2, name="this")(x), FLOAT),
    "rms": (lambda x: layers.RMSNormalization(name="this")(x), FLOAT),
    "unit": (lambda x: layers.UnitNormalization(name="this")(x), FLOAT),
    "conv3d": (lambda x: layers.Conv3D(2, 3, name="this")(volume(x)), FLOAT),
    "pool3d": (lambda x: layers.MaxPooling3D(2)(volume(x)), NO_BUILTIN),
    "lstm": (lambda x: layers.LSTM(4)(sequence(x)), LOOP),
    "attention": (lambda x: layers.MultiHeadAttention(2, 4)(sequence(x), sequence(x)), {}),
    "gelu": (lambda x: layers.Activation("gelu")(x), {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_excludes_only_the_formats_that_do_not_support_it(tmp_path, make_images, kind):
    """Use the export function of `distill`, which records errors instead of raising them."""
    body, refusals = KINDS[kind]
    model = teacher(body).original
    files = {"saved_model": "s", "litert": "s.tflite", "litert_int8": "s_int8.tflite"}
    for format, name in files.items():
        path = tmp_path / name
        facts = exporting.exported(model, path, format, make_images(60), Teacher(model, (0.0, 1.0)))
        if format in refusals:
            assert re.search(refusals[format], facts["error"])
            assert not path.exists()
        else:
            assert facts["agreement"] > (0.9 if format == "litert_int8" else 0.999)
