"""`distill`: the files of a run, and what an interruption costs."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_zskd as zskd
from keras_zskd import pipeline

FILES = {
    "run.json",
    "impressions",
    "student.keras",
    "student",
    "student.tflite",
    "student_int8.tflite",
    "logs",
    "report.html",
    "README.md",
}


def small_run(teacher, directory, **changes):
    settings = {"num_impressions": 40, "epochs": 2, "input_range": (0.0, 1.0), "verbose": 0}
    return zskd.distill(teacher, 0.5, "zskd", directory, **{**settings, **changes})


def test_a_run_leaves_every_file_and_a_table(tiny_teacher, tmp_path):
    before = [value.copy() for value in tiny_teacher.get_weights()]
    run = small_run(tiny_teacher, tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    assert json.loads((tmp_path / "run" / "run.json").read_text())["method"] == "zskd"
    rows = {row["model"]: row for row in run["results"]["rows"]}
    assert set(rows) == {"teacher", "student", "student int8"}
    assert rows["teacher"]["agreement"] == 1.0
    assert rows["student"]["accuracy"] is None  # no data, no accuracy
    assert rows["student"]["parameters"] < rows["teacher"]["parameters"]
    student = keras.saving.load_model(tmp_path / "run" / "student.keras")
    assert student.count_params() == rows["student"]["parameters"]
    for value, after in zip(before, tiny_teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(value, after)


def test_a_finished_run_is_not_trained_again(tiny_teacher, tmp_path):
    first = small_run(tiny_teacher, tmp_path / "run")
    student = (tmp_path / "run" / "student.keras").read_bytes()
    again = small_run(tiny_teacher, tmp_path / "run")
    assert (tmp_path / "run" / "student.keras").read_bytes() == student
    assert again["distillation"]["history"] == first["distillation"]["history"]


def test_another_request_for_the_same_directory_is_refused(tiny_teacher, tmp_path):
    small_run(tiny_teacher, tmp_path / "run")
    with pytest.raises(zskd.InputError, match="seed"):
        small_run(tiny_teacher, tmp_path / "run", seed=1)


def test_an_interrupted_training_goes_on_from_its_last_epoch(tiny_teacher, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TerminateOnNaN, "on_epoch_end", kill)
        with pytest.raises(KilledError):
            small_run(tiny_teacher, tmp_path / "run", epochs=4)
    assert not (tmp_path / "run" / "student.keras").exists()
    run = small_run(tiny_teacher, tmp_path / "run", epochs=4)
    # The first epoch was backed up before the second one was killed.
    assert len(run["distillation"]["history"]["loss"]) == 3


def test_a_training_that_diverges_keeps_the_impressions(tiny_teacher, tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        return tf.constant(float("nan")) * arguments[1][:, 0]

    monkeypatch.setattr("keras_zskd.distillation.distiller.distillation_loss", broken)
    with pytest.raises(zskd.InputError, match="NaN"):
        small_run(tiny_teacher, tmp_path / "run")
    assert zskd.TransferSet(tmp_path / "run" / "impressions").num_impressions == 40
    assert not (tmp_path / "run" / "student.keras").exists()


def test_a_failing_picture_does_not_cost_the_run(tiny_teacher, tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        raise RuntimeError("no attention today")

    monkeypatch.setattr(pipeline, "attention_maps", broken)
    small_run(tiny_teacher, tmp_path / "run")
    assert "no attention today" in (tmp_path / "run" / "report.html").read_text()
