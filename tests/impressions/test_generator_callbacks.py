"""The callbacks of `ImpressionGenerator.generate`, and its progress output."""

import csv
import errno
import sys
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging

from keras_zskd.impressions import shard_maker
from keras_zskd.impressions.continuous_batch import ContinuousBatch

pytestmark = pytest.mark.usefixtures("without_xla")


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
