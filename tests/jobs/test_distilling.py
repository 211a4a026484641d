"""`distill`: the files of a run, and resuming after an interruption."""

import importlib
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_zskd as zskd
from keras_zskd import cli
from keras_zskd.deploy.litert_conversion import FormatError
from keras_zskd.evaluation.report import synthesis_sections
from keras_zskd.inputs import datasets
from keras_zskd.jobs import distilling, exporting
from keras_zskd.models.alexnet_pair import LocalResponseNormalization
from keras_zskd.runs import backup
from keras_zskd.runs.run import Run

pytestmark = pytest.mark.usefixtures("without_xla")
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
    if not isinstance(teacher, zskd.Teacher):
        teacher = zskd.Teacher(teacher, (0.0, 1.0))
    method = zskd.METHODS[changes.pop("method", "zskd")]
    settings = {"num_impressions": 40, "epochs": 2, **changes.pop("settings", {})}
    settings = {name: value for name, value in settings.items() if name in method.arguments()}
    return zskd.distill(
        teacher,
        method=method(**settings),
        output_dir=directory,
        **{"student": 0.5, "verbose": 0, **changes},
    )


def history_of(run):
    return run.record["stages"]["training"]["history"]


@pytest.fixture(scope="module")
def first(make_teacher, tmp_path_factory):
    """A finished run, made once; its directory is read-only."""
    directory = tmp_path_factory.mktemp("first") / "run"
    teacher = make_teacher("logits")
    return small_run(teacher, directory), directory, teacher


@pytest.fixture
def finished(first, tmp_path):
    """A copy of the finished run of `tiny_teacher` for this test."""
    return pathlib.Path(shutil.copytree(first[1], tmp_path / "run"))


def test_a_run_leaves_every_file_and_a_table(tiny_teacher, first):
    run, directory, teacher = first
    assert {path.name for path in directory.iterdir()} >= FILES
    assert json.loads((directory / "run.json").read_text()) == run.record
    assert run.record["request"]["method"]["name"] == "zskd"
    rows = {row["model"]: row for row in run.results["rows"]}
    assert set(rows) == {"teacher", "student", "student int8"}
    assert rows["teacher"]["agreement"] == 1.0
    assert rows["student"]["accuracy"] is None  # no data, no accuracy
    assert rows["student"]["parameters"] < rows["teacher"]["parameters"]
    student = keras.saving.load_model(directory / "student.keras")
    assert student.count_params() == rows["student"]["parameters"]
    # `tiny_teacher` is the same teacher, which was not used in a run.
    for value, after in zip(tiny_teacher.get_weights(), teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(value, after)


def test_a_finished_run_is_not_trained_again(tiny_teacher, first, finished):
    before = first[0]
    student = (finished / "student.keras").read_bytes()
    again = small_run(tiny_teacher, finished)
    assert (finished / "student.keras").read_bytes() == student
    assert history_of(again) == history_of(before)
    for one, other in zip(again.student.get_weights(), before.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def estimated(monkeypatch):
    """Set the seconds of estimates; count them."""
    real, found = distilling.estimate, {"seconds": 61.0, "count": 0}

    def estimate(*arguments):
        found["count"] += 1
        return {**real(*arguments), "seconds": found["seconds"]}

    monkeypatch.setattr(distilling, "estimate", estimate)
    return found


@pytest.mark.parametrize(("seconds", "is_said"), [(59.0, False), (61.0, True)])
def test_only_a_long_estimate_is_printed_before_the_first_stage(
    tiny_teacher, tmp_path, monkeypatch, estimated, capsys, seconds, is_said
):
    def stop(*arguments):
        raise KeyboardInterrupt

    estimated["seconds"] = seconds
    monkeypatch.setattr(Run, "synthesize", stop)
    with pytest.raises(KeyboardInterrupt):
        small_run(tiny_teacher, tmp_path / "run", verbose=2)
    assert ("MB on disk" in capsys.readouterr().out) == is_said


def test_another_request_for_the_same_directory_is_rejected(tiny_teacher, finished):
    with pytest.raises(zskd.InputError, match="seed"):
        small_run(tiny_teacher, finished, seed=1)


def test_a_killed_training_resumes_and_equals_an_uninterrupted_one_without_an_estimate(
    tiny_teacher, first, tmp_path, monkeypatch, estimated, capsys
):
    class KilledError(Exception):
        pass

    steps = iter(range(1, 100))

    def kill(self, batch, logs=None):
        if next(steps) == 2:  # In the second of two epochs.
            raise KilledError

    monkeypatch.setattr(backup, "_SECONDS", 0.0)
    whole, directory, _ = first
    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TerminateOnNaN, "on_train_batch_end", kill)
        with pytest.raises(KilledError):
            small_run(tiny_teacher, tmp_path / "run", verbose=2)
    assert "MB on disk" in capsys.readouterr().out
    assert not (tmp_path / "run" / "student.keras").exists()
    run = small_run(tiny_teacher, tmp_path / "run", verbose=2)
    assert estimated["count"] == 1  # A resumed run is not estimated again.
    assert history_of(run) == history_of(whole)
    for file in ("student.tflite", "student_int8.tflite"):
        assert (tmp_path / "run" / file).read_bytes() == (directory / file).read_bytes()


def test_a_training_that_diverges_keeps_the_impressions(tiny_teacher, tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        return tf.constant(float("nan")) * arguments[1][:, 0]

    monkeypatch.setattr("keras_zskd.distillation.distiller.distillation_loss", broken)
    with pytest.raises(zskd.InputError, match="NaN"):
        small_run(tiny_teacher, tmp_path / "run")
    assert zskd.TransferSet(tmp_path / "run" / "impressions").num_impressions == 40
    assert not (tmp_path / "run" / "student.keras").exists()


def test_a_failing_picture_does_not_fail_the_run(tiny_teacher, finished, monkeypatch):
    def broken(*arguments, **settings):
        raise RuntimeError("no attention today")

    monkeypatch.setattr(synthesis_sections, "attention_maps", broken)
    small_run(tiny_teacher, finished)
    assert "no attention today" in (finished / "report.html").read_text()


@pytest.fixture
def splits(monkeypatch):
    """Two splits of different brightness, and the inputs read, trained on and calibrated on."""
    rng = np.random.default_rng(0)
    bounds = {"train": (60, 0.0, 0.4), "test": (20, 0.6, 1.0)}
    pixels = {
        name: rng.uniform(low, high, (count, 8, 8, 1)).astype("float32")
        for name, (count, low, high) in bounds.items()
    }
    seen = {"read": [], "trained": [], "calibrated": []}

    def load(name, split, *arguments, **settings):
        seen["read"].append(split)
        return pixels[split], np.arange(len(pixels[split])) % 4

    fit, export = Run.fit, exporting.export

    def watched_fit(self, model, source, *arguments, **settings):
        seen["trained"].append(source.images(10_000))
        return fit(self, model, source, *arguments, **settings)

    def watched_export(model, path, format, calibration, *arguments):
        if format == "litert_int8":
            seen["calibrated"].append(calibration)
        return export(model, path, format, calibration, *arguments)

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(Run, "fit", watched_fit)
    monkeypatch.setattr(exporting, "export", watched_export)
    return {**seen, **pixels}


def test_real_data_is_split_once_and_the_test_split_only_measures(tiny_teacher, tmp_path, splits):
    settings = {"method": "hinton", "training_dataset": "real"}
    run = small_run(tiny_teacher, tmp_path / "run", **settings)
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES - {"impressions"}
    (trained,), (calibrated,) = splits["trained"], splits["calibrated"]
    np.testing.assert_array_equal(trained, splits["train"][:54])
    np.testing.assert_array_equal(calibrated, splits["train"][:54])
    assert set(splits["read"]) == {"train"}
    assert run.results["measured_on"].startswith("6 held-out training images")

    # The finished student, measured on the test split.
    splits["read"].clear()
    run = small_run(tiny_teacher, tmp_path / "run", dataset="real", **settings)
    np.testing.assert_array_equal(splits["calibrated"][1], splits["train"][:54])
    assert sorted(splits["read"]) == ["test", "train"]
    assert run.results["measured_on"] == "real (test, 20 images)"


def test_a_zero_shot_method_reads_data_only_to_measure(tiny_teacher, tmp_path, splits, monkeypatch):
    measured = []
    all_logits = distilling.all_logits

    def watched(model, images, role):
        measured.append(images)
        return all_logits(model, images, role)

    monkeypatch.setattr(distilling, "all_logits", watched)
    run = small_run(tiny_teacher, tmp_path / "run")
    assert splits["read"] == []
    images = zskd.TransferSet(tmp_path / "run" / "impressions").arrays()["image"]
    # The held-out impressions were not trained on.
    (trained,) = splits["trained"]
    np.testing.assert_array_equal(trained, images[:36])
    assert len(measured) == 3  # Of teacher, student and int8 student.
    for held_out in measured:
        np.testing.assert_array_equal(held_out, images[36:])
    assert run.results["measured_on"].startswith("4 held-out impressions")

    small_run(tiny_teacher, tmp_path / "run", dataset="real")
    assert splits["read"] == ["test"]
    assert len(splits["calibrated"]) == 2
    np.testing.assert_array_equal(splits["calibrated"][1], images[:36])


def _student(units, seed=0):
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(units)]
    return keras.Sequential([*layers, keras.layers.Dense(4)])


def test_another_student_or_teacher_is_another_run(make_teacher, tmp_path):
    def run(teacher, student):
        return small_run(teacher, tmp_path / "run", student=student)

    teacher, student = make_teacher("logits"), _student(3)
    before = student.get_weights()
    first = run(teacher, student)
    np.testing.assert_array_equal(student.get_weights()[0], before[0])
    # A new object with the same weights is the same student, so the run is not trained again.
    assert history_of(run(teacher, _student(3))) == history_of(first)
    with pytest.raises(zskd.InputError, match="student_fingerprint"):
        run(teacher, _student(3, seed=1))
    with pytest.raises(zskd.InputError, match="teacher_fingerprint"):
        run(make_teacher("logits", seed=1), student)


def test_a_finished_student_with_a_lambda_is_read_without_running_code(tiny_teacher, tmp_path):
    student = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Lambda(lambda x: 2.0 * x),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    first = small_run(tiny_teacher, tmp_path / "run", student=student)
    again = small_run(tiny_teacher, tmp_path / "run", student=student)
    assert again.results["fidelity"] == first.results["fidelity"]


def test_a_format_that_the_student_does_not_support_is_skipped(tiny_teacher, tmp_path, capsys):
    pixels = keras.Input((8, 8, 1))
    x = keras.layers.LayerNormalization()(keras.layers.Conv2D(4, 3)(pixels))
    x = LocalResponseNormalization()(keras.layers.ReLU()(x))
    student = keras.Model(pixels, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    for name, model in (("teacher", tiny_teacher), ("student", student)):
        model.save(tmp_path / f"{name}.keras")
    code = cli.main(
        [
            "keras-zskd", "distill", f"--teacher={tmp_path}/teacher.keras",
            f"--student={tmp_path}/student.keras", "--input_range=0,1", "--num_impressions=40",
            "--method=zskd", "--epochs=1", f"--output_dir={tmp_path}/run",
        ]
    )  # fmt: skip
    assert code == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    rows = {row["model"]: row for row in run["results"]["rows"]}
    sentence = rows["student int8"]["error"]
    assert "no full-integer form" in sentence
    assert rows["student int8"]["bytes"] is None
    assert rows["student"]["agreement"] is not None
    assert not (tmp_path / "run" / "student_int8.tflite").exists()
    assert f"No LiteRT file of student int8: {sentence}" in capsys.readouterr().out
    assert "no full-integer form" in (tmp_path / "run" / "report.html").read_text()
    assert sentence in (tmp_path / "run" / "README.md").read_text()


def test_augmentation_layers_of_a_teacher_are_inactive_in_all_files(tmp_path):
    """As in the Keras guides; random image layers default to training mode."""
    keras.utils.set_random_seed(0)
    teacher = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomRotation(0.2),
            keras.layers.Resizing(16, 16),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )
    run = small_run(zskd.Teacher(teacher, (0.0, 255.0)), tmp_path / "run")
    assert [row.get("error") for row in run.results["rows"]] == [None, None, None]
    student = keras.saving.load_model(tmp_path / "run" / "student.keras")
    images = np.random.default_rng(1).uniform(0.0, 255.0, (30, 12, 12, 3)).astype("float32")
    expected = student.predict(images, verbose=0)
    spread = np.ptp(expected)
    saved = tf.saved_model.load(tmp_path / "run" / "student")
    np.testing.assert_allclose(saved.serve(images), expected, atol=1e-5 * spread)
    for name, share in (("student.tflite", 1e-5), ("student_int8.tflite", 0.05)):
        actual = zskd.LiteRTModel(tmp_path / "run" / name).predict(images)
        np.testing.assert_allclose(actual, expected, atol=share * spread)
    # With active layers, the outputs of the files would be very different.
    assert np.abs(student(images, training=True) - expected).max() > 0.1 * spread


def test_a_run_without_any_litert_file_finishes(tiny_teacher, finished, monkeypatch):
    export = exporting.export

    def refuse(model, path, format, *arguments):
        if format == "litert":
            raise FormatError("no form today")
        return export(model, path, format, *arguments)

    monkeypatch.setattr(exporting, "export", refuse)
    run = small_run(tiny_teacher, finished)
    errors = {row["model"]: row.get("error") for row in run.results["rows"]}
    assert errors == {"teacher": "no form today", "student": "no form today", "student int8": None}
    assert not (finished / "student.tflite").exists()  # The file of the first call was removed.
    card = (finished / "README.md").read_text()
    assert "No LiteRT file of teacher: no form today" in card


def test_a_second_process_is_rejected_and_a_dead_owner_leaves_no_lock(tiny_teacher, tmp_path):
    class Second(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            with pytest.raises(zskd.InputError, match="must not be in use by another process"):
                small_run(tiny_teacher, tmp_path / "run")
            raise KeyboardInterrupt

    for _ in range(2):  # The second call begins to train, too.
        with pytest.raises(KeyboardInterrupt):
            small_run(tiny_teacher, tmp_path / "run", callbacks=[Second()])


def test_a_method_from_outside_the_package(tiny_teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(pathlib.Path(__file__).parent.parent / "methods")
    monkeypatch.syspath_prepend(".")
    own = importlib.import_module("own_method")
    teacher = zskd.Teacher(tiny_teacher, (0, 1))
    run = zskd.distill(teacher, 0.5, own.Uniform(epochs=1), tmp_path / "python", verbose=0)
    assert run.results["measured_on"].startswith("5 held-out noise")
    assert "They are uniform noise." in (tmp_path / "python" / "README.md").read_text()
    tiny_teacher.save(tmp_path / "teacher.keras")
    arguments = [
        f"--teacher={tmp_path}/teacher.keras", "--input_range=0,1", "--method=own_method:Uniform",
        f"--output_dir={tmp_path}/shell", "--set=num_images=30", "--epochs=1",
    ]  # fmt: skip
    assert cli.main(["keras-zskd", "distill", *arguments]) == 0
    record = json.loads((tmp_path / "shell" / "run.json").read_text())
    assert record["request"]["method"] == {
        "name": "uniform", "config": {"num_images": 30, "epochs": 1}
    }  # fmt: skip
    assert cli.main(["keras-zskd", "distill", *arguments, "--set=magic=1"]) == 2
    assert "num_images, epochs" in capsys.readouterr().err
