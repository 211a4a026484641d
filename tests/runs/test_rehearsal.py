"""An estimate has the stages of the run, and leaves nothing behind."""

import os

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd import cli, datasets
from keras_zskd.jobs.estimating import estimate
from keras_zskd.runs import rehearsal
from keras_zskd.runs.run import Run

pytestmark = pytest.mark.usefixtures("without_xla")
METHODS = {
    "zskd": {"num_impressions": 400, "epochs": 3, "batch_size": 8},
    "kimura": {"num_images": 12, "num_pseudo": 20, "trainings": 2, "epochs": 2, "batch_size": 4},
    "dafl": {"latent": 4, "filters": 4, "epochs": 2, "rounds": 16, "batch_size": 4},
}


@pytest.fixture(autouse=True)
def training_data(monkeypatch):
    images = np.random.default_rng(0).random((80, 8, 8, 1), "float32")
    monkeypatch.setattr(datasets, "load", lambda *arguments: (images, np.arange(80) % 4))


@pytest.mark.parametrize("name", METHODS)
def test_an_estimate_has_the_stages_of_the_run(tiny_teacher, tmp_path, monkeypatch, name):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    method = zskd.METHODS[name](**METHODS[name])
    teacher = zskd.Teacher(tiny_teacher, (0, 1))
    student = zskd.slim(tiny_teacher, 0.5)
    before = [weight.copy() for weight in student.get_weights()]
    found = estimate(teacher, student, method, training_dataset="x")
    for value, after in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(value, after)
    with Run(teacher, student, {}, tmp_path / "run", verbose=0) as run:
        method.train(run)
    assert [stage["name"] for stage in found["stages"]] == list(run.record.run["stages"])
    assert all(stage["seconds"] > 0 for stage in found["stages"] if "pool" not in stage["name"])
    assert found["seconds"] == pytest.approx(sum(s["seconds"] for s in found["stages"]))
    assert found["memory"] > 1e8  # TensorFlow alone.


def replace_measurements(monkeypatch, first_call):
    """Let each step take one second, the first call more, and the ends of epochs no time."""

    def training_seconds(model, *arguments):
        model.history = keras.callbacks.History()
        return first_call, 1.0

    monkeypatch.setattr(rehearsal, "training_seconds", training_seconds)
    monkeypatch.setattr(rehearsal, "epoch_seconds", lambda *arguments: (0.0, 0.0))


def test_an_estimate_counts_the_steps_of_the_run(make_teacher, tmp_path, monkeypatch):
    teacher = zskd.Teacher(make_teacher("batch_norm"), (0, 1))
    method = zskd.METHODS["deepinversion"](
        num_impressions=700, epochs=3, batch_size=8, synthesis_steps=1, rounds=2
    )
    with Run(teacher, 0.5, {}, tmp_path / "run", verbose=0) as run:
        method.train(run)
    stages = run.record.run["stages"].values()
    steps = [s["config"]["epochs"] * s["config"]["steps"] for s in stages if "history" in s]

    replace_measurements(monkeypatch, first_call=0.0)
    found = [s for s in estimate(teacher, 0.5, method)["stages"] if "training" in s["name"]]
    assert [stage["seconds"] for stage in found] == pytest.approx(steps)
    assert len(steps) == 2


def test_the_compilation_of_a_step_is_counted_once(make_teacher, monkeypatch):
    replace_measurements(monkeypatch, first_call=100.0)
    method = zskd.METHODS["nayer"](
        rounds=2, batches=1, groups=4, generator_steps=1, latent=4, filters=4, steps=3, batch_size=4
    )
    teacher = zskd.Teacher(make_teacher("logits"), (0, 1))
    found = [s for s in estimate(teacher, 0.5, method)["stages"] if "training" in s["name"]]
    assert [stage["seconds"] for stage in found] == [103.0, 3.0]


def test_disk_is_the_size_of_the_impressions_and_more_work_takes_longer(make_teacher, tmp_path):
    teacher = zskd.Teacher(make_teacher("logits", input_shape=(16, 16, 1)), (0, 1))
    little, much = (zskd.METHODS["zskd"](num_impressions=n, epochs=e) for n, e in (
        (400, 1), (4_000_000, 100)
    ))  # fmt: skip
    found = estimate(teacher, 0.5, little)
    with Run(teacher, 0.5, {}, tmp_path / "run", verbose=0) as run:
        little.train(run)
    impressions = tmp_path / "run" / "impressions"
    size = sum(os.path.getsize(impressions / name) for name in os.listdir(impressions))
    assert found["disk"] == pytest.approx(size, rel=0.25)
    longer = estimate(teacher, 0.5, much)
    for one, other in zip(found["stages"], longer["stages"], strict=True):
        assert other["seconds"] > 5 * one["seconds"]


def test_a_dry_run_writes_nothing(saved_teacher, tmp_path, capsys):
    output = tmp_path / "run"
    arguments = [f"--teacher={saved_teacher}", "--input_range=0,1", f"--output_dir={output}"]
    arguments += ["--method=zskd", "--dry_run", "--epochs=2"]
    assert cli.main(["keras-zskd", "distill", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "minutes" in printed
    assert "Memory: " in printed
    assert not output.exists()


@pytest.mark.parametrize(
    ("flag", "said"),
    [("--dataset=x", "labels from 0 to 4"), ("--output_dir=.", "holds something else")],
)
def test_a_dry_run_refuses_what_the_run_would(
    saved_teacher, tmp_path, monkeypatch, capsys, flag, said
):
    images = np.zeros((5, 8, 8, 1), "float32")
    monkeypatch.setattr(datasets, "load", lambda *arguments: (images, np.arange(5)))
    (tmp_path / "thesis.tex").write_text("precious")
    monkeypatch.chdir(tmp_path)
    flags = [f"--teacher={saved_teacher}", "--input_range=0,1", "--output_dir=new", "--dry_run"]
    assert cli.main(["keras-zskd", "distill", *flags, flag]) == 2
    assert said in capsys.readouterr().err


def test_the_temporary_directory_is_removed_after_an_error(tiny_teacher, tmp_path, monkeypatch):
    def broken(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(Run, "new_student", broken)
    with pytest.raises(KeyboardInterrupt):
        estimate(zskd.Teacher(tiny_teacher, (0, 1)), keras.models.clone_model(tiny_teacher))
    assert not list(tmp_path.iterdir())
