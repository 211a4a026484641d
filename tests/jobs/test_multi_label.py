"""A multi-label teacher, from its file to measured students."""

import json

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd import InputError, Teacher
from keras_zskd.jobs import quantizing

pytestmark = pytest.mark.usefixtures("without_xla")
SIDE, LABELS = 8, 3


@pytest.fixture(scope="module")
def examples():
    """Images with bright quadrants, each of the first three with a label of its own."""
    random = np.random.default_rng(0)
    labels = (random.random((600, LABELS)) < 0.4).astype(np.int64)
    images = 0.3 * random.random((600, SIDE, SIDE, 1)).astype("float32")
    for k, (row, column) in enumerate([(0, 0), (0, 4), (4, 0)]):
        images[:, row : row + 4, column : column + 4, 0] += 0.6 * labels[:, k, None, None]
    return images, labels


@pytest.fixture(scope="module")
def model(examples):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(LABELS, activation="sigmoid"),
        ],
        name="quadrants",
    )
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy")
    model.fit(*examples, epochs=20, batch_size=50, verbose=0)
    return model


@pytest.fixture(scope="module")
def distilled(model, examples, tmp_path_factory):
    path = tmp_path_factory.mktemp("multi_label") / "teacher.keras"
    model.save(path)
    return zskd.distill(
        Teacher(path, (0, 1)),
        0.5,
        zskd.METHODS["best"](num_impressions=64, steps=96, batch_size=64),
        path.parent / "run",
        dataset=examples,
        verbose=0,
    )


class TestDistill:
    def test_the_student_finds_the_labels(self, distilled):
        rows = {row["model"]: row for row in distilled.results["rows"]}
        assert rows["teacher"]["mean_average_precision"] > 0.95
        assert rows["student"]["mean_average_precision"] > 0.9
        assert rows["student int8"]["mean_average_precision"] > 0.9
        assert "accuracy" not in rows["student"]

    def test_the_student_ends_as_its_teacher(self, distilled, examples):
        student = keras.models.load_model(distilled.directory / "student.keras")
        assert student.layers[-1].activation is keras.activations.sigmoid
        predicted = student.predict(examples[0], verbose=0) > 0.5
        assert (predicted == examples[1]).mean() > 0.85

    def test_report_and_model_card_name_the_score(self, distilled):
        for file in ("report.html", "README.md"):
            text = (distilled.directory / file).read_text()
            assert "mean average precision" in text
            assert "share of the labels of these images" in text
            assert f"{LABELS} labels" in text
        assert "accuracy was not measured" not in text.lower()

    @pytest.mark.parametrize(
        "method",
        [
            zskd.METHODS["zskd"](num_impressions=48, epochs=1, batch_size=16),
            zskd.METHODS["hinton"](epochs=1),
        ],
        ids=lambda method: method.name,
    )
    def test_other_methods_run(self, method, model, examples, tmp_path):
        training = examples if method.name == "hinton" else None
        found = zskd.distill(
            Teacher(model, (0, 1)),
            0.5,
            method,
            tmp_path / "run",
            training_dataset=training,
            dataset=examples,
            verbose=0,
        )
        assert 0 < found.results["rows"][1]["mean_average_precision"] <= 1

    def test_quantize(self, model, examples, tmp_path, monkeypatch):
        monkeypatch.setattr(quantizing, "_FILES", quantizing._FILES[:1])
        found = zskd.quantize(
            Teacher(model, (0, 1)), tmp_path, num_impressions=16, dataset=examples, verbose=0
        )
        assert found.rows[0]["mean_average_precision"] > 0.95

    def test_methods_for_one_label_say_so(self, model, tmp_path):
        with pytest.raises(InputError, match="must be a single-label classifier for this method"):
            zskd.distill(Teacher(model, (0, 1)), 0.5, "dafl", tmp_path / "run")

    def test_record_says_that_there_are_several(self, distilled):
        run = json.loads((distilled.directory / "run.json").read_text())
        assert run["request"]["teacher"]["multi_label"] is True
