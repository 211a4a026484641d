import csv
import errno
import json
import os
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from keras_zskd.core.errors import InputError
from keras_zskd.impressions import shard_maker
from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.continuous_batch import ContinuousBatch
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import ClassLogit
from keras_zskd.impressions.priors import BatchNormStatistics, TotalVariation
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets
from keras_zskd.inputs.shards import write_shard
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


class TestDirectory:
    @pytest.mark.parametrize(
        ("count", "batch_size", "shards"), [(10, 4, [4, 4, 2]), (10, 16, [10]), (10, None, [10])]
    )
    def test_has_one_shard_per_batch(self, one_step, tmp_path, count, batch_size, shards):
        one_step.generate(count, tmp_path / "a", batch_size=batch_size, verbose=0)
        names = sorted(path.name for path in (tmp_path / "a" / "shards").iterdir())
        assert names == [f"{number:05d}-{size}.json" for number, size in enumerate(shards)]

    def test_of_another_teacher_raises(self, make_generator, tmp_path):
        make_generator(seed=0).generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=r"made in another way \(teacher differ\)"):
            make_generator(seed=1).generate(8, tmp_path / "a", verbose=0)
        assert TransferSet(tmp_path / "a").num_impressions == 4

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("steps", {"steps": 5}),
            ("objective", {"temperature": 3.0}),
            ("objective", {"targets": OneHotTargets()}),
            ("priors", {"priors": [TotalVariation(0.5)]}),
            ("transforms", {"transforms": []}),
            ("canvas", {"canvas": UniformCanvas("none")}),
            ("learning_rate", {"learning_rate": 0.06}),
            ("objective", {"tolerance": 0.1}),
            ("precision", {"precision": "bfloat16"}),
        ],
    )
    def test_of_other_settings_raises(self, make_generator, one_step, tmp_path, name, changes):
        one_step.generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=rf"another way \({name} differ\).*another directory"):
            make_generator(**{"steps": 1, **changes}).generate(8, tmp_path / "a", verbose=0)

    def test_of_another_seed_raises(self, one_step, tmp_path):
        one_step.generate(4, tmp_path / "a", verbose=0)
        with pytest.raises(InputError, match=r"\(seed differ\)"):
            one_step.generate(8, tmp_path / "a", seed=1, verbose=0)

    def test_with_other_files_raises_and_is_unchanged(self, make_generator, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(InputError, match="holds something else"):
            make_generator().generate(4, tmp_path, verbose=0)
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]

    def test_that_is_a_file_raises(self, make_generator, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match="file"):
            make_generator().generate(4, tmp_path / "file", verbose=0)

    def test_that_cannot_be_created_raises_with_the_cause(self, make_generator, tmp_path):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(InputError, match=r"`directory` must be.*is not a directory") as caught:
            make_generator().generate(4, tmp_path / "file" / "a", verbose=0)
        assert isinstance(caught.value.__cause__, tf.errors.OpError)

    @pytest.mark.parametrize(
        "cause",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            PermissionError(errno.EACCES, "Permission denied"),
            # How TensorFlow reports a full disk.
            tf.errors.ResourceExhaustedError(None, None, "No space left on device"),
            tf.errors.UnknownError(None, None, "Input/output error"),
        ],
    )
    def test_that_becomes_unwritable(self, one_step, tmp_path, monkeypatch, cause):
        def write_two(directory, shard, impressions):
            if shard.number == 2:
                raise cause
            write_shard(directory, shard, impressions)

        monkeypatch.setattr(shard_maker, "write_shard", write_two)
        with pytest.raises(InputError, match="`directory` must be") as caught:
            one_step.generate(20, tmp_path / "a", batch_size=4, verbose=0)
        said = str(caught.value)
        assert str(cause) in said
        assert repr(str(tmp_path / "a")) in said
        assert "free" not in said
        assert caught.value.__cause__ is cause
        assert TransferSet(tmp_path / "a").num_impressions == 8


class _OutOfMemory(DirichletTargets):
    """Targets that allocate 4 PiB from impression 4 on."""

    def __init__(self, allocate):
        super().__init__()
        self.allocate = allocate

    def draw(self, prepared, labels, indices, seed, num_classes):
        if indices.max() >= 4:
            self.allocate([2**50])
        return super().draw(prepared, labels, indices, seed, num_classes)

    def get_config(self):
        return {}


@pytest.mark.parametrize(
    ("allocate", "kind"),
    [
        (lambda shape: np.empty(shape, np.float32), MemoryError),
        (lambda shape: tf.fill(shape, 0.5), tf.errors.ResourceExhaustedError),
    ],
)
class TestMemory:
    def test_batch_too_large_for_memory(self, make_generator, tmp_path, allocate, kind):
        generator = make_generator(
            "batch_norm",
            steps=1,
            targets=_OutOfMemory(allocate),
            priors=[BatchNormStatistics(group_size=2)],
        )
        with pytest.raises(InputError, match=r"`batch_size` must be small.*batch_size=4") as caught:
            generator.generate(20, tmp_path / "a", batch_size=4, verbose=0)
        assert "a smaller multiple of 2" in str(caught.value)
        assert isinstance(caught.value.__cause__, kind)
        assert TransferSet(tmp_path / "a").num_impressions == 4

    def test_no_smaller_batch_is_suggested_for_one_impression(
        self, make_generator, tmp_path, allocate, kind
    ):
        if kind is not MemoryError:
            pytest.skip("TensorFlow retries for ten seconds; the other test has both.")
        generator = make_generator(steps=1, targets=_OutOfMemory(allocate))
        with pytest.raises(kind):
            generator.generate(20, tmp_path / "a", batch_size=1, verbose=0)


class TestInvalidArguments:
    @pytest.mark.parametrize("temperature", [0, -1, float("nan")])
    def test_temperature(self, tiny_teacher, temperature):
        with pytest.raises(
            InputError, match=rf"must be positive. Received: temperature={temperature}"
        ):
            ImpressionGenerator(Teacher(tiny_teacher, (0, 1)), temperature=temperature)

    @pytest.mark.parametrize("changes", [{"steps": 0}, {"steps": -3}, {"learning_rate": 0.0}])
    def test_steps_and_learning_rate(self, make_generator, changes):
        ((name, value),) = changes.items()
        with pytest.raises(InputError, match=f"{name}={value}"):
            make_generator(**changes)

    @pytest.mark.parametrize("tolerance", [0, -0.1, float("nan")])
    def test_tolerance(self, make_generator, tolerance):
        with pytest.raises(
            InputError, match=rf"must be a positive.*Received: tolerance={tolerance}"
        ):
            make_generator(tolerance=tolerance)

    @pytest.mark.parametrize(
        "changes", [{"targets": OneHotTargets()}, {"temperature": 4.0}, {"tolerance": 1.0}]
    )
    def test_objective_with_its_short_form(self, tiny_teacher, changes):
        with pytest.raises(InputError, match=r"`objective` must be passed without `targets`"):
            ImpressionGenerator(Teacher(tiny_teacher, (0, 1)), objective=ClassLogit(), **changes)

    @pytest.mark.parametrize("seed", [-1, 2**31])
    def test_seed(self, make_generator, tmp_path, seed):
        with pytest.raises(InputError, match=rf"`seed` must be.*Received: seed={seed}"):
            make_generator().generate(5, tmp_path / "a", seed=seed, verbose=0)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("count", [0, -5])
    def test_counts(self, make_generator, tmp_path, count):
        with pytest.raises(
            InputError, match=f"must be 1 or more. Received: num_impressions={count}"
        ):
            make_generator().generate(count, tmp_path / "a", verbose=0)
        assert not (tmp_path / "a").exists()

    @pytest.mark.parametrize("batch_size", [0, -2])
    def test_batch_size(self, make_generator, tmp_path, batch_size):
        with pytest.raises(InputError, match=f"Received: batch_size={batch_size}"):
            make_generator().generate(5, tmp_path / "a", batch_size=batch_size, verbose=0)
        assert not (tmp_path / "a").exists()

    def test_batch_size_that_splits_a_group(self, make_generator, tmp_path):
        generator = make_generator("batch_norm", priors=[BatchNormStatistics(group_size=4)])
        with pytest.raises(InputError, match=r"multiple of 4.*Received: batch_size=10"):
            generator.generate(5, tmp_path / "a", batch_size=10, verbose=0)
        assert not (tmp_path / "a").exists()

    def test_a_teacher_without_templates_raises_at_once(self):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        teacher = Teacher(keras.Model(inputs, x), (0, 1))
        with pytest.raises(InputError, match="no class templates"):
            ImpressionGenerator(teacher)
        assert ImpressionGenerator(teacher, targets=OneHotTargets()).teacher is teacher

    def test_object_that_is_not_a_teacher(self):
        with pytest.raises(InputError, match=r"does not exist"):
            ImpressionGenerator("nothing.keras")


class TestCallbacks:
    def test_order_logs_and_model(self, make_generator, tmp_path):
        class Watch(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                events.append(("begin", None))

            def on_epoch_begin(self, epoch, logs=None):
                events.append(("epoch", epoch))

            def on_train_batch_end(self, batch, logs=None):
                assert self.model is generator
                latest = self.model.latest
                assert latest["image"].shape == (6, 8, 8, 1)
                indices = np.arange(6) + 6 * len(ends)
                np.testing.assert_array_equal(latest["label"], indices % 4)
                np.testing.assert_array_equal(latest["steps"], [10 * (batch + 1)] * 6)
                np.testing.assert_allclose(
                    latest["logits"], generator.teacher(latest["image"]), rtol=1e-3, atol=1e-4
                )
                events.append(("step", batch))
                gaps.append(latest["gap"].mean())

            def on_epoch_end(self, epoch, logs=None):
                events.append(("end", epoch))
                assert logs["gap"] == pytest.approx(float(self.model.latest["gap"].mean()))
                ends.append(dict(logs))

            def on_train_end(self, logs=None):
                events.append(("finish", None))

        events, gaps, ends = [], [], []
        generator = make_generator(steps=40)
        made = generator.generate(12, tmp_path / "a", 0, 6, [Watch()], verbose=0)
        steps = [("step", i) for i in range(4)]
        assert events == [
            ("begin", None),
            ("epoch", 0), *steps, ("end", 0),
            ("epoch", 1), *steps, ("end", 1),
            ("finish", None),
        ]  # fmt: skip
        assert gaps[3] < gaps[0]
        assert set(ends[0]) == {"gap", "cross_entropy", "confidence", "steps"}
        assert ends[0]["steps"] == ends[1]["steps"] == 40
        arrays = made.arrays()
        assert ends[1]["gap"] == pytest.approx(float(arrays["gap"][6:].mean()), rel=1e-4)

    def test_keras_callbacks(self, make_generator, tmp_path):
        path = str(tmp_path / "log.csv")
        callbacks = [
            keras.callbacks.CSVLogger(path),
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.EarlyStopping(monitor="gap", mode="min", patience=50),
            keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
            keras.callbacks.History(),
        ]
        made = make_generator().generate(
            12, tmp_path / "a", batch_size=4, callbacks=callbacks, verbose=0
        )
        with open(path, newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["epoch"] for row in rows] == ["0", "1", "2"]
        gap = made.arrays()["gap"].reshape(3, 4).mean(1)
        np.testing.assert_allclose([float(row["gap"]) for row in rows], gap, rtol=1e-3)
        assert callbacks[-1].history["gap"] == pytest.approx(list(gap), rel=1e-3)

    def test_a_callback_may_stop_the_synthesis(self, make_generator, tmp_path):
        stop = keras.callbacks.EarlyStopping(
            monitor="confidence", mode="max", baseline=2.0, patience=1
        )
        made = make_generator().generate(40, tmp_path / "a", 0, 4, [stop], verbose=0)
        assert 4 <= made.num_impressions < 40
        assert made.num_impressions % 4 == 0

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            tf.errors.ResourceExhaustedError(None, None, "out of memory"),
            MemoryError("out of memory"),
            KeyError("gap"),
        ],
    )
    @pytest.mark.parametrize(
        "moment",
        ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end", "on_train_end"],
    )
    def test_their_exceptions_are_raised_unchanged(self, one_step, tmp_path, error, moment):
        def fail(*args, **kwargs):
            raise error

        watch = keras.callbacks.Callback()
        setattr(watch, moment, fail)
        with pytest.raises(type(error)) as caught:
            one_step.generate(8, tmp_path / "a", 0, 4, [watch], verbose=0)
        assert caught.value is error

    def test_their_exceptions_are_not_hidden_by_later_errors(self, one_step, tmp_path, monkeypatch):
        def fail_to_write(directory, shard, impressions):
            may_fail.wait(30)
            raise OSError(errno.ENOSPC, "No space left on device")

        class Fail(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                may_fail.set()
                raise first

            def on_train_end(self, logs=None):
                ends.append(1)
                raise RuntimeError("closed twice")

        first, may_fail, ends, logged = ValueError("mine"), threading.Event(), [], []
        monkeypatch.setattr(shard_maker, "write_shard", fail_to_write)
        monkeypatch.setattr(logging, "error", lambda text, error: logged.append(str(error)))
        with pytest.raises(ValueError, match="mine") as caught:
            one_step.generate(8, tmp_path / "a", 0, 4, [Fail()], verbose=0)
        assert caught.value is first
        assert ends == [1]
        assert "No space left on device" in logged[0]  # Logged, so not lost.
        assert logged[1:] == ["closed twice"]

    def test_latest_is_computed_only_if_read(self, make_generator, tmp_path, monkeypatch):
        looks = []
        look = ContinuousBatch.look
        monkeypatch.setattr(ContinuousBatch, "look", lambda self: looks.append(1) or look(self))
        blind = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: None)
        generator = make_generator()
        generator.generate(8, tmp_path / "a", 0, 4, [blind], verbose=0)
        assert looks == []

        def look_twice(batch, logs):
            first = generator.latest
            assert generator.latest is first

        watch = keras.callbacks.LambdaCallback(on_train_batch_end=look_twice)
        generator.generate(8, tmp_path / "b", 0, 4, [watch], verbose=0)
        assert len(looks) == 8  # Four steps of two batches, each computed once.

    def test_latest_after_an_epoch_is_the_finished_batch(self, make_generator, tmp_path):
        seen = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: seen.append(generator.latest)
        )
        generator = make_generator()
        made = generator.generate(10, tmp_path / "a", 0, 4, [watch], verbose=0).arrays()
        assert [len(batch["image"]) for batch in seen] == [4, 4, 2]
        for name, value in made.items():
            joined = np.concatenate([batch[name] for batch in seen])
            np.testing.assert_array_equal(joined, value, err_msg=name)
        assert generator.latest is seen[-1]

    def test_steps_fewer_than_checkpoints(self, make_generator, tmp_path):
        steps = []
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: steps.append(batch)
        )
        make_generator(steps=2).generate(4, tmp_path / "a", callbacks=[watch], verbose=0)
        assert steps == [0, 1]


class TestProgress:
    def test_bar(self, make_generator, tmp_path, capsys):
        make_generator().generate(8, tmp_path / "a", batch_size=4, verbose=1)
        printed = capsys.readouterr().out
        for expected in ("4/8", "8/8", "gap:", "per_second:", "impression"):
            assert expected in printed

    def test_zero_is_silent(self, make_generator, tmp_path, capsys):
        make_generator().generate(4, tmp_path / "a", verbose=0)
        assert capsys.readouterr().out == ""

    def test_auto_is_a_bar_in_a_terminal(self, make_generator, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        make_generator().generate(4, tmp_path / "a")
        assert "━" in capsys.readouterr().out

    @pytest.mark.parametrize("verbose", ["auto", 2])
    def test_a_line_per_tenth(self, one_step, tmp_path, capsys, verbose):
        one_step.generate(48, tmp_path / "a", batch_size=2, verbose=verbose)
        printed = capsys.readouterr().out
        assert "\r" not in printed
        # The first even numbers at or above each tenth of 48.
        counts = [6, 10, 16, 20, 24, 30, 34, 40, 44, 48]
        lines = printed.splitlines()
        assert [line.split(" - ")[0] for line in lines] == [f"impression {n}/48" for n in counts]
        assert all("gap: " in line and "per_second: " in line for line in lines)

    def test_lines_continue_after_an_earlier_call(self, one_step, tmp_path, capsys):
        one_step.generate(8, tmp_path / "a", batch_size=4, verbose=0)
        one_step.generate(16, tmp_path / "a", batch_size=4)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(" - ")[0] for line in lines] == ["impression 12/16", "impression 16/16"]


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
