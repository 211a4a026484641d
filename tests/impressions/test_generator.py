"""`ImpressionGenerator`: the impressions, and that they do not depend on how they are made."""

import json
import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import ClassLogit
from keras_zskd.impressions.priors import BatchNormStatistics
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.graph import fingerprint
from keras_zskd.models.teacher import Teacher

pytestmark = pytest.mark.usefixtures("without_xla")
# Impressions that take between a few and all of 12 steps.
EARLY = {
    "steps": 12,
    "learning_rate": 0.3,
    "canvas": UniformCanvas("none"),
    "tolerance": 0.8,
}


def _assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        np.testing.assert_allclose(value, b[name], rtol=1e-3, atol=1e-4, err_msg=name)


class TestImpressions:
    def test_values_match_the_teacher(self, make_generator, tmp_path):
        generator = make_generator("softmax")
        made = generator.generate(10, tmp_path / "a", batch_size=4, verbose=0)
        arrays = made.arrays()
        assert made.num_impressions == 10
        assert {name: value.shape for name, value in arrays.items()} == {
            "image": (10, 8, 8, 1),
            "target": (10, 4),
            "label": (10,),
            "logits": (10, 4),
            "gap": (10,),
        }
        assert arrays["image"].dtype == np.float32
        assert arrays["image"].min() >= 0
        assert arrays["image"].max() <= 1
        np.testing.assert_array_equal(arrays["label"], np.arange(10) % 4)
        np.testing.assert_allclose(
            arrays["logits"], generator.teacher(arrays["image"]), rtol=1e-4, atol=1e-5
        )
        # gap = CE(y, softmax(z / tau)) - H(y), recomputed in float64.
        y, z = (arrays[name].astype("float64") for name in ("target", "logits"))
        z = z / 2.0
        log_p = z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
        log_p -= z.max(1, keepdims=True)
        entropy = -np.where(y > 0, y * np.log(np.maximum(y, 1e-300)), 0).sum(1)
        np.testing.assert_allclose(arrays["gap"], -(y * log_p).sum(1) - entropy, atol=1e-4)

    def test_more_steps_reduce_the_gap(self, make_generator, tmp_path):
        few = make_generator(steps=1).generate(12, tmp_path / "few", verbose=0)
        many = make_generator(steps=60).generate(12, tmp_path / "many", verbose=0)
        assert many.arrays()["gap"].mean() < 0.7 * few.arrays()["gap"].mean()

    def test_images_are_in_the_input_range_of_the_teacher(self, make_teacher, tmp_path):
        generator = ImpressionGenerator(
            Teacher(make_teacher("nested"), (-1, 3)),
            canvas=BlobCanvas(scales=(1, 2)),
            priors=[],
            steps=2,
        )
        images = generator.generate(6, tmp_path / "a", verbose=0).arrays()["image"]
        assert images.min() >= -1
        assert images.max() <= 3
        assert images.min() < 0
        assert images.max() > 1.5

    def test_inputs_that_are_not_images(self, tmp_path):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
        generator = ImpressionGenerator(Teacher(model, (0, 1)), steps=2)
        made = generator.generate(5, tmp_path / "a", verbose=0)
        assert made.arrays()["image"].shape == (5, 6)

    def test_teacher_and_callers_model_are_unchanged(self, make_teacher, tmp_path):
        model = make_teacher("batch_norm")
        before = [w.copy() for w in model.get_weights()]
        generator = ImpressionGenerator(
            Teacher(model, (0, 1)), priors=[BatchNormStatistics(group_size=3)], steps=2
        )
        generator.generate(6, tmp_path / "a", batch_size=6, verbose=0)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)
        assert all(layer.trainable for layer in model.layers)


@pytest.fixture(scope="module")
def reference(make_generator, tmp_path_factory):
    directory = tmp_path_factory.mktemp("reference")
    return make_generator().generate(50, directory, batch_size=50, verbose=0).arrays()


class TestReproducibility:
    @pytest.mark.parametrize("batch_size", [10, 20, None])
    def test_does_not_depend_on_the_batch_size(
        self, make_generator, tmp_path, reference, batch_size
    ):
        made = make_generator().generate(50, tmp_path / "a", batch_size=batch_size, verbose=0)
        _assert_same(made.arrays(), reference)

    def test_another_seed_gives_other_impressions(self, make_generator, tmp_path, reference):
        other = make_generator().generate(50, tmp_path / "a", seed=1, verbose=0).arrays()
        assert np.abs(other["image"] - reference["image"]).mean() > 0.05
        assert np.abs(other["target"] - reference["target"]).mean() > 0.05

    def test_interrupted_and_continued_with_another_batch_size(
        self, make_generator, tmp_path, reference
    ):
        directory = tmp_path / "a"
        assert make_generator().generate(7, directory, batch_size=5, verbose=0).num_impressions == 7
        made = make_generator().generate(50, directory, batch_size=16, verbose=0)
        assert made.num_impressions == 50
        _assert_same(made.arrays(), reference)

    def test_killed_in_the_middle_of_a_batch_and_continued(
        self, make_generator, tmp_path, reference
    ):
        class Kill(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                if len(seen) == 2:
                    raise KeyboardInterrupt

            def on_epoch_end(self, epoch, logs=None):
                seen.append(epoch)

        seen = []
        with pytest.raises(KeyboardInterrupt):
            make_generator().generate(50, tmp_path / "a", 0, 10, [Kill()], verbose=0)
        assert TransferSet(tmp_path / "a").num_impressions == 20
        made = make_generator().generate(50, tmp_path / "a", batch_size=10, verbose=0)
        _assert_same(made.arrays(), reference)

    def test_with_groups_interrupted_inside_a_group(self, make_generator, tmp_path):
        def make():
            return make_generator("batch_norm", priors=[BatchNormStatistics(1.0, group_size=4)])

        whole = make().generate(20, tmp_path / "whole", batch_size=20, verbose=0).arrays()
        make().generate(6, tmp_path / "parts", batch_size=4, verbose=0)
        parts = make().generate(20, tmp_path / "parts", batch_size=8, verbose=0).arrays()
        _assert_same(parts, whole)

    def test_does_not_depend_on_reading_latest(self, make_generator, tmp_path, reference):
        # Reading the unfinished impressions does not change them.
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: generator.latest["image"]
        )
        generator = make_generator()
        made = generator.generate(50, tmp_path / "a", callbacks=[watch], batch_size=25, verbose=0)
        _assert_same(made.arrays(), reference)

    def test_a_smaller_number_changes_nothing(self, make_generator, tmp_path):
        make_generator().generate(8, tmp_path / "a", verbose=0)

        def files():
            paths = sorted(path for path in (tmp_path / "a").rglob("*") if path.is_file())
            return [(path, path.read_bytes()) for path in paths]

        before = files()
        assert make_generator().generate(3, tmp_path / "a", verbose=0).num_impressions == 8
        assert files() == before


class TestTolerance:
    """Impressions that have reached their targets are replaced by new ones."""

    def _make(self, make_generator, directory, batch_size, count=40, **changes):
        """Return impressions, and the steps in the logs of each epoch times its impressions."""
        spent = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: spent.append(
                round(logs["steps"] * len(generator.latest["steps"]))
            )
        )
        generator = make_generator(**{**EARLY, **changes})
        made = generator.generate(count, directory, 0, batch_size, [watch], verbose=0)
        return made.arrays(), sum(spent)

    def test_result_does_not_depend_on_the_batch_size(self, make_generator, tmp_path):
        one, spent = self._make(make_generator, tmp_path / "one", 40)
        other, as_much = self._make(make_generator, tmp_path / "other", 8)
        _assert_same(one, other)
        assert spent == as_much
        assert 40 < spent < 0.9 * 12 * 40

    def test_with_groups(self, make_generator, tmp_path):
        groups = {
            "kind": "batch_norm",
            "priors": [BatchNormStatistics(0.01, group_size=4)],
            "tolerance": 1.2,
        }
        whole, spent = self._make(make_generator, tmp_path / "whole", 24, 22, **groups)
        self._make(make_generator, tmp_path / "parts", 4, 6, **groups)
        parts, _ = self._make(make_generator, tmp_path / "parts", 8, 22, **groups)
        _assert_same(whole, parts)
        assert 24 < spent < 12 * 24

    def test_gaps_are_within_the_tolerance(self, make_generator, tmp_path):
        # Without transforms, the finished impressions are those that the teacher saw.
        seen = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(generator.latest)
        )
        generator = make_generator(**{**EARLY, "tolerance": 0.1, "transforms": []})
        generator.generate(40, tmp_path / "a", 0, 20, [watch], verbose=0)
        gap, steps = (np.concatenate([part[name] for part in seen]) for name in ("gap", "steps"))
        assert len(set(steps)) > 3
        assert gap[steps < 12].max() < 0.1 + 1e-5

    def test_killed_and_continued(self, make_generator, tmp_path):
        class Kill(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == 2:
                    raise KeyboardInterrupt

        whole, _ = self._make(make_generator, tmp_path / "whole", 40)
        with pytest.raises(KeyboardInterrupt):
            make_generator(**EARLY).generate(40, tmp_path / "a", 0, 8, [Kill()], verbose=0)
        # The finished impressions are from several shards, few of which are complete.
        kept = TransferSet(tmp_path / "a").num_impressions
        assert kept < 40
        assert kept % 8 == 0
        parts, _ = self._make(make_generator, tmp_path / "a", 8)
        _assert_same(parts, whole)


class TestClassLogit:
    """An objective with its own stopping criterion, in the whole generator."""

    def test_does_not_depend_on_the_batch_size_and_stops_at_its_confidence(
        self, make_teacher, tmp_path
    ):
        generator = ImpressionGenerator(
            Teacher(make_teacher("logits"), (0, 1)),
            objective=ClassLogit(0.55, 0.8),
            priors=[],
            transforms=[],
            canvas=UniformCanvas("clip"),
            steps=60,
            learning_rate=0.05,
        )
        steps = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: steps.append(generator.latest["steps"])
        )
        one = generator.generate(24, tmp_path / "one", 0, 24, [watch], verbose=0).arrays()
        other = generator.generate(24, tmp_path / "other", 0, 6, verbose=0).arrays()
        _assert_same(one, other)
        assert len(set(steps[0])) > 3
        # Without transforms, the stored impressions are those that the teacher saw.
        p = np.exp(one["logits"] - one["logits"].max(1, keepdims=True))
        reached = (p / p.sum(1, keepdims=True))[np.arange(24), np.arange(24) % 4]
        asked = one["target"].max(1)
        assert np.mean(reached >= asked - 1e-5) > 0.5
        assert np.all(reached - asked < 0.2)


class TestConfig:
    def test_is_json_and_has_every_setting(self, make_generator):
        config = make_generator().get_config()
        assert json.loads(json.dumps(config)) == config
        assert set(config) >= {
            "teacher", "input_shape", "input_range", "num_classes", "objective", "priors",
            "transforms", "canvas", "steps", "learning_rate", "precision",
        }  # fmt: skip

    def test_objects_can_be_restored(self, make_generator):
        config = make_generator().get_config()
        objective = keras.saving.deserialize_keras_object(config["objective"])
        assert objective.targets.scales == (1.0, 0.1)
        assert (objective.temperature, objective.tolerance) == (2.0, None)

    def test_fingerprint_distinguishes_teachers(self, make_teacher):
        one, again, other = (
            fingerprint(Teacher(make_teacher("logits", seed=seed), (0, 1)).model)
            for seed in (0, 0, 1)
        )
        assert one == again
        assert one != other

    def test_fingerprint_depends_on_more_than_the_weights(self):
        # Same weights, another activation: other logits, so other impressions.
        def model(activation):
            keras.utils.set_random_seed(0)
            return keras.Sequential(
                [
                    keras.Input((6,)),
                    keras.layers.Dense(5, activation=activation),
                    keras.layers.Dense(3),
                ]
            )

        relu, tanh = (fingerprint(Teacher(model(name), (0, 1)).model) for name in ("relu", "tanh"))
        assert relu != tanh


def test_a_keras_model_is_accepted(tiny_teacher, tmp_path):
    with pytest.warns(UserWarning, match="pixel range"):
        generator = ImpressionGenerator(tiny_teacher, steps=1)
    made = generator.generate(3, os.fspath(tmp_path / "a"), verbose=0)
    assert made.num_impressions == 3
    assert tf.is_tensor(generator.teacher(made.part(0, 2, "image")["image"]))
