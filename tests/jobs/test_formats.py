"""What `inspect` says of files before anything is trained."""

import importlib.util
import os

import keras
import pytest

from keras_zskd import Teacher
from keras_zskd.errors import InputError
from keras_zskd.export import FORMATS
from keras_zskd.jobs import formats
from keras_zskd.jobs.formats import possible_formats

layers = keras.layers


def teacher(*body):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(8, 3), *body, layers.Flatten(), layers.Dense(4)]
    )
    return Teacher(model, (0.0, 1.0))


def test_a_plain_network_has_every_format(capfd):
    os.write(2, b"before ")
    found = possible_formats(teacher())
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"
    assert tuple(found) == FORMATS
    if importlib.util.find_spec("tf2onnx") is None:
        assert "pip install keras-zskd[onnx]" in found.pop("onnx")
    assert set(found.values()) == {"yes"}


def test_a_layer_without_integer_kernels_costs_int8_only():
    found = possible_formats(teacher(layers.LayerNormalization(name="norm")))
    assert found["saved_model"] == found["litert"] == "yes"
    assert found["litert_int8"].startswith("no: Model")
    assert "no full-integer form: LiteRT would compute" in found["litert_int8"]
    assert "norm" in found["litert_int8"]


@pytest.mark.parametrize("is_narrow", [True, False])
def test_a_layer_without_builtin_operators_costs_both(monkeypatch, is_narrow):
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
    for name in ("litert", "litert_int8"):
        assert found[name].startswith("no: Model")
        assert "(needs ResizeBicubic)" in found[name]
    # 9 weights and a bias for each of 4 or 8 channels, 16 pixels of them to 4 classes.
    assert set(tried) == {4 * 10 + 4 * 16 * 4 + 4 if is_narrow else 8 * 10 + 8 * 16 * 4 + 4}
