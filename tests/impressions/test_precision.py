"""The arithmetic of `ImpressionGenerator`: XLA, bfloat16 and NaN."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.impressions import generator as generator_module
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.teacher import Teacher


class TestPrecision:
    def test_bfloat16_gives_nearly_the_same(self, make_generator, tmp_path):
        one = make_generator().generate(8, tmp_path / "a", verbose=0).arrays()
        generator = make_generator(precision="bfloat16")
        other = generator.generate(8, tmp_path / "b", verbose=0).arrays()
        assert not np.array_equal(one["image"], other["image"])
        assert np.abs(one["image"] - other["image"]).mean() < 0.01
        np.testing.assert_array_equal(one["target"], other["target"])
        # The stored logits are the float32 output of the teacher.
        np.testing.assert_allclose(
            other["logits"], generator.teacher(other["image"]), rtol=1e-4, atol=1e-5
        )

    @pytest.mark.parametrize(
        ("has", "kind", "expected"),
        [(True, "wide", "bfloat16"), (True, "narrow", "float32"), (False, "wide", "float32")],
    )
    def test_auto_selects_bfloat16_if_it_is_faster(self, monkeypatch, has, kind, expected):
        monkeypatch.setattr(generator_module, "has_bfloat16", lambda: has)
        filters = 32 if kind == "wide" else 4
        conv = keras.layers.Conv2D
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), conv(filters, 3), conv(4, 3), keras.layers.Flatten(),
             keras.layers.Dense(3)]
        )  # fmt: skip
        generator = ImpressionGenerator(Teacher(model, (0, 1)))
        assert generator.engine.precision == expected
        assert generator.get_config()["precision"] == expected
        # Under XLA, convolutions are slow and bfloat16 is not faster.
        assert generator.engine.compiled == (kind == "narrow")

    @pytest.mark.parametrize("precision", ["float16", "", None, 32])
    def test_unknown_precision_raises(self, make_generator, precision):
        with pytest.raises(InputError, match=r"`precision` must be 'auto'.*Received: precision="):
            make_generator(precision=precision)


class TestNaN:
    def test_raises_with_the_cause_and_keeps_finished_impressions(self, make_generator, tmp_path):
        class Poison(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                if epoch == 2:
                    kernel = self.model.teacher.model.get_layer("hidden").kernel
                    kernel.assign(kernel * np.nan)

        generator = make_generator()
        with pytest.raises(InputError, match=r"NaN in impression 8.*kept.*learning rate"):
            generator.generate(20, tmp_path / "a", batch_size=4, callbacks=[Poison()], verbose=0)
        kept = TransferSet(tmp_path / "a").arrays()
        assert len(kept["image"]) == 8
        assert np.all(np.isfinite(kept["image"]))
