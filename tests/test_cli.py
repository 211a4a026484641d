"""The command line as seen by a user: its output and its error messages."""

import errno
import functools
import json
import os
import re
import signal

import keras
import numpy as np
import pytest

from keras_zskd import cli
from keras_zskd.jobs.estimating import estimate
from keras_zskd.methods import METHODS

pytestmark = pytest.mark.usefixtures("without_xla")


def run(*arguments: str) -> int:
    return cli.main(["keras-zskd", *arguments])


@pytest.fixture
def refused(capsys):
    """Return a function that runs a command, which must fail, and returns the error message."""

    def check(*arguments: str) -> str:
        code = run(*arguments)
        captured = capsys.readouterr()
        assert code == 2, captured
        lines = captured.err.strip().splitlines()
        assert len(lines) == 1, captured.err
        assert lines[0].startswith("keras-zskd: ")
        assert "Traceback" not in captured.err
        return lines[0]

    return check


@pytest.fixture
def save(tmp_path):
    def save(model: keras.Model, name: str = "model.keras") -> str:
        path = str(tmp_path / name)
        model.save(path)
        return path

    return save


def test_help_lists_every_command(capsys):
    assert run("help") == 0
    printed = capsys.readouterr().out
    for name in (
        "demo",
        "distill",
        "synthesize",
        "evaluate",
        "export",
        "inspect",
        "methods",
        "train",
        "benchmark",
    ):
        assert f"\n  {name} " in printed


def test_help_of_a_command_shows_its_flags(capsys):
    assert run("distill", "--help") == 0
    printed = capsys.readouterr().out
    assert "--student" in printed
    assert "--num_impressions" in printed


def test_methods_lists_needs_and_references(capsys, tmp_path):
    assert run("methods", f"--json={tmp_path / 'methods.json'}") == 0
    assert "ICML 2019" in capsys.readouterr().out
    assert json.loads((tmp_path / "methods.json").read_text())["zskd"]["needs"].startswith(
        "the teacher"
    )


def test_unknown_commands_flags_and_words_are_rejected(refused, saved_teacher):
    assert "'destil'" in refused("destil")
    assert "nonsense" in refused("distill", "--nonsense=1")
    assert "'stray'" in refused("methods", "stray")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOSPC])
def test_a_file_error_has_the_path_and_the_system_message(refused, monkeypatch, number):
    def fail(path, result):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("keras_zskd.cli.command_line.write_json", fail)
    sentence = refused("methods", "--json=results/out.json")
    assert sentence == f"keras-zskd: 'results/out.json': {os.strerror(number)}."


def test_an_impossible_path_has_the_system_message(refused, tmp_path):
    (tmp_path / "file").write_text("mine")
    sentence = refused("methods", f"--json={tmp_path / 'file' / 'out.json'}")
    assert sentence in (
        f"keras-zskd: {str(tmp_path / 'file')!r}: {os.strerror(number)}."
        for number in (errno.EEXIST, errno.ENOTDIR)
    )


def test_destinations_are_checked_before_the_work(refused, tmp_path, monkeypatch):
    def work(*_):
        raise AssertionError

    monkeypatch.setattr("keras_zskd.inputs.datasets.load", work)
    (tmp_path / "dir.keras").mkdir()
    flags = ["--architecture=lenet5", "--dataset=mnist", "--output"]
    assert "`json` must be a file, not a dir" in refused("methods", f"--json={tmp_path}")
    assert "`output` must be a file" in refused("train", *flags, str(tmp_path / "dir.keras"))


def test_a_failed_rename_has_both_paths(refused, monkeypatch):
    def fail(path, result):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), "part", None, path)

    monkeypatch.setattr("keras_zskd.cli.command_line.write_json", fail)
    sentence = refused("methods", "--json=out.json")
    assert sentence == f"keras-zskd: 'part': 'out.json': {os.strerror(errno.EXDEV)}."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("Can't synchronously write data"), "Can't synchronously write data"),
    ],
)
def test_a_file_error_without_a_path_has_its_own_message(refused, monkeypatch, error, said):
    def fail(path, result):
        raise error

    monkeypatch.setattr("keras_zskd.cli.command_line.write_json", fail)
    assert refused("methods", "--json=out.json") == f"keras-zskd: {said}."


def test_missing_flags_are_rejected(refused, saved_teacher, tmp_path):
    assert "--teacher" in refused("distill", f"--output_dir={tmp_path / 'run'}")
    assert "--output_dir" in refused(
        "synthesize", f"--teacher={saved_teacher}", "--input_range=0,1"
    )
    assert "must be two numbers" in refused(
        "inspect", f"--teacher={saved_teacher}", "--input_range=0"
    )


def _model(outputs: int = 4, activation: str | None = None, inputs: int = 1) -> keras.Model:
    tensors = [keras.Input((8, 8, 1)) for _ in range(inputs)]
    x = keras.layers.Flatten()(tensors[0] if inputs == 1 else keras.layers.Add()(tensors))
    return keras.Model(tensors, keras.layers.Dense(outputs, activation=activation)(x))


def _regressor() -> keras.Model:
    model = _model(outputs=1)
    model.compile(loss="mse")
    return model


def _nan_model() -> keras.Model:
    model = _model()
    model.set_weights([np.full_like(value, np.nan) for value in model.get_weights()])
    return model


def _dynamic_model() -> keras.Model:
    inputs = keras.Input((None, None, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


def _lambda_model() -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Flatten()(keras.layers.Lambda(lambda x: 2 * x)(inputs))
    return keras.Model(inputs, keras.layers.Dense(4)(x))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: _model(inputs=2), "2 inputs"),
        (lambda: _regressor(), "loss 'mse' of a regressor"),
        (lambda: _model(activation="tanh"), "tanh"),
        (_nan_model, "NaN"),
        (_dynamic_model, "dynamic input shape"),
        (_lambda_model, "safe_mode"),
    ],
)
def test_models_that_cannot_be_teachers_are_rejected(refused, save, tmp_path, build, said):
    output = tmp_path / "run"
    sentence = refused(
        "distill", f"--teacher={save(build())}", "--input_range=0,1", f"--output_dir={output}"
    )
    assert said in sentence
    assert not output.exists()


def test_files_that_are_not_models_are_rejected(refused, tmp_path):
    text = tmp_path / "text.keras"
    text.write_text("not a model")
    assert "could not be read as a Keras model" in refused(
        "inspect", f"--teacher={text}", "--input_range=0,1"
    )
    assert "does not exist" in refused("inspect", "--teacher=/no/such/file.keras")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--student=0", "width"),
        ("--student=-0.5", "width"),
        ("--student=1.5", "width"),
        ("--num_impressions=0 --method=zskd", "num_impressions=0"),
        ("--num_impressions=-3", "num_impressions=-3"),
        ("--epochs=0 --method=zskd", "epochs=0"),
        ("--method=magic", "'magic'"),
        ("--set=minutes=abc", "`minutes` must be a number or None. Received: minutes='abc'"),
        ("--set=cls=5", "Received: cls"),
        ("--set=name=5", "Received: name"),
        ("--set=x={[]:1}", "Received: x"),
        ("--preset=magic", "'magic'"),
        ("--dataset=no_such_data", "no_such_data"),
        ("--method=hinton", "`training_dataset` must be given"),
        ("--input_range=1,0", "low < high"),
    ],
)
def test_invalid_arguments_of_distill_are_rejected(refused, saved_teacher, tmp_path, flag, said):
    output = tmp_path / "run"
    flags = [
        f"--teacher={saved_teacher}",
        "--input_range=0,1",
        f"--output_dir={output}",
        *flag.split(),
    ]
    assert said in refused("distill", *flags)
    assert not output.exists()


def test_a_student_that_does_not_fit_is_rejected(refused, saved_teacher, save, tmp_path):
    student = save(_model(outputs=7), "student.keras")
    sentence = refused(
        "distill",
        f"--teacher={saved_teacher}",
        f"--student={student}",
        "--input_range=0,1",
        f"--output_dir={tmp_path / 'run'}",
    )
    assert "7 outputs" in sentence


def test_an_output_directory_with_other_files_is_rejected(refused, saved_teacher, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    (output / "thesis.tex").write_text("precious")
    for command in ("distill", "synthesize"):
        sentence = refused(
            command, f"--teacher={saved_teacher}", "--input_range=0,1", f"--output_dir={output}"
        )
        assert "holds something else" in sentence
    assert [path.name for path in output.iterdir()] == ["thesis.tex"]


def test_inspect_reports_methods_formats_and_cost(capsys, saved_teacher, tmp_path, monkeypatch):
    # The estimate of the default method takes three times as long as the rest.
    quick = functools.partial(estimate, method=METHODS["zskd"](num_impressions=40, epochs=1))
    monkeypatch.setattr("keras_zskd.jobs.inspecting.estimate", quick)
    out, picture = tmp_path / "inspect.json", tmp_path / "similarity.png"
    flags = [f"--teacher={saved_teacher}", "--input_range=0,1", f"--json={out}"]
    assert run("inspect", *flags, f"--picture={picture}") == 0
    found = json.loads(out.read_text())
    assert picture.stat().st_size > 0
    assert np.diag(found["class_similarity"]).tolist() == [1.0] * 4
    assert re.search(r"^ +0 +1\.00( +-?0\.\d\d){3}$", capsys.readouterr().out, re.MULTILINE)
    assert found["num_classes"] == 4
    assert found["method zskd"] == "yes"
    assert "training data" in found["method hinton"]
    assert {name: said for name, said in found.items() if name.startswith("format l")} == {
        "format litert": "yes",
        "format litert_int8": "yes",
        "format litert_mixed": "yes",
        "format litert_int16x8": "yes",
    }
    assert found["input range known by"] == "given"
    assert re.match(r"[\d.]+ minutes, \d+ MB on disk, ", found["distill at half the width"])


def test_synthesize_evaluate_and_export(capsys, saved_teacher, tmp_path):
    impressions = tmp_path / "impressions"
    teacher = [f"--teacher={saved_teacher}", "--input_range=0,1"]
    assert run("synthesize", *teacher, "--num_impressions=8", f"--output_dir={impressions}") == 0
    out = tmp_path / "result.json"
    assert (
        run(
            "evaluate",
            *teacher,
            f"--student={saved_teacher}",
            f"--impressions={impressions}",
            f"--json={out}",
        )
        == 0
    )
    assert json.loads(out.read_text())["agreement"] == 1.0
    file = tmp_path / "student_int8.tflite"
    flags = [f"--model={saved_teacher}", f"--output={file}", f"--calibration={impressions}"]
    assert run("export", *flags) == 0
    assert file.stat().st_size > 0
    assert "format" in capsys.readouterr().out


def test_evaluate_requires_exactly_one_data_source(refused, saved_teacher):
    flags = [f"--teacher={saved_teacher}", f"--student={saved_teacher}", "--input_range=0,1"]
    assert "neither" in refused("evaluate", *flags)
    assert "both" in refused("evaluate", *flags, "--dataset=mnist", "--impressions=x")


def test_evaluate_rejects_students_that_do_not_fit(refused, saved_teacher, save):
    flags = [f"--teacher={saved_teacher}", "--input_range=0,1", "--impressions=x"]
    assert "2 inputs" in refused("evaluate", *flags, f"--student={save(_model(inputs=2))}")
    assert "7 outputs" in refused("evaluate", *flags, f"--student={save(_model(outputs=7))}")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
def test_a_stopped_command_reports_what_is_kept_and_resumes(
    capsys, saved_teacher, tmp_path, monkeypatch, request, number, code
):
    arguments = [
        "distill", f"--teacher={saved_teacher}", "--input_range=0,1", "--num_impressions=20",
        "--method=zskd", "--epochs=2", f"--output_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    # SIGINT is ignored in a process that was started in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with monkeypatch.context() as patch:
        patch.setattr(
            keras.callbacks.TerminateOnNaN,
            "on_train_batch_end",
            lambda self, batch, logs=None: signal.raise_signal(number),
        )
        assert run(*arguments) == code
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("keras-zskd: stopped. Finished work is kept at ")
    assert "Run the same command to resume" in said[0]
    if number == signal.SIGINT:  # The rest does not depend on the signal.
        assert run(*arguments) == 0


@pytest.mark.parametrize(
    ("words", "made", "is_kept"),
    [
        (("synthesize", "--output_dir=out"), "out", True),
        (("synthesize", "--output_dir=out"), "other", False),
        (("synthesize", "--output_dir=gs://bucket/out"), "other", True),
        (("train", "--output=t.keras"), "t.keras.training", True),
        (("distill", "--output_dir=out", "--dry_run"), "out", False),
        (("export", "--output=out"), "out", False),
        (("records", "--output=out"), "out", False),
    ],
)
def test_a_stopped_command_reports_only_what_is_kept(
    capsys, tmp_path, monkeypatch, words, made, is_kept
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_zskd.cli.command_line.arguments", stop)
    monkeypatch.chdir(tmp_path)
    (tmp_path / made).mkdir()
    assert run(*words) == 130
    assert ("Finished work is kept" in capsys.readouterr().err) == is_kept
