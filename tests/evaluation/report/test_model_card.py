import re

import keras
import numpy as np
import pytest

from keras_zskd.deploy.formats import export
from keras_zskd.evaluation.report.model_card import write_model_card

yaml = pytest.importorskip("yaml")


@pytest.fixture
def card(tmp_path, run):
    """A function that writes a card next to the given files and reads it."""

    def write(*files):
        for name in files:
            (tmp_path / name).touch()
        write_model_card(tmp_path / "README.md", run)
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return write


def front_matter(text):
    return yaml.safe_load(text.split("---")[1])


def test_front_matter_for_model_hubs(card):
    found = front_matter(card())
    assert found["library_name"] == "keras"
    assert found["pipeline_tag"] == "image-classification"
    assert found["metrics"] == ["accuracy", "agreement"]
    assert "data-free" in found["tags"]
    assert found["class_names"] == ["cat", "dog <b>", "a|b"]


def test_sections_and_results(card):
    text = card()
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    assert heads == [
        "A student of lenet5",
        "Training data",
        "Evaluation",
        "How to use the files",
        "Limitations",
        "Privacy",
    ]
    assert "35,820 parameters instead of 61,706" in text
    assert "24,000 impressions" in text
    assert "no original data was read" in text
    assert "| student int8 | - | 99.21 % | 35,820 | 44.3 kB | 0.0456 |" in text
    assert "only used for the evaluation, not for synthesis or training" in " ".join(text.split())
    assert "**Impressions may leak training information.**" in text


def test_a_method_with_real_data_does_not_claim_to_be_data_free(card, run):
    run["origin"] = {
        "inputs": "training images", "uses_data": True,
        "text": "They are real: the training split of mnist.",
    }  # fmt: skip
    text = card()
    assert "data-free" not in text
    assert "no original data" not in text
    assert "They are real" in text


def test_unmeasured_accuracy_is_a_limitation(card, run):
    assert "Its accuracy was not measured." not in card()
    for row in run["results"]["rows"]:
        row["accuracy"] = None
    text = card()
    assert "Its accuracy was not measured." in text
    assert front_matter(text)["metrics"] == ["agreement"]


def test_only_existing_files_are_explained(card):
    text = card("student.keras", "report.html")
    assert "`student.keras`" in text
    assert "`report.html`" in text
    assert "tflite" not in text
    assert "SavedModel" not in text


@pytest.mark.parametrize("format", ["litert", "litert_int8"])
def test_the_code_of_the_card_runs(card, tmp_path, make_teacher, make_images, monkeypatch, format):
    student = make_teacher("logits", num_classes=3)
    student.save(tmp_path / "student.keras")
    images = make_images(32)
    name = "student_int8.tflite" if format == "litert_int8" else "student.tflite"
    export(student, tmp_path / name, calibration=images, num_checks=8)
    blocks = re.findall(r"```python\n(.*?)```", card(), re.S)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    expected = student(images).numpy()
    for code, tolerance in zip(blocks, (1e-5, 1e-5 if format == "litert" else 0.3), strict=True):
        names = {"images": images}
        exec(code.replace("predict(images)", "predict(images, verbose=0)"), names)
        scores = np.asarray(names["scores"])
        np.testing.assert_allclose(scores, expected[: len(scores)], atol=tolerance)
    assert keras.saving.load_model(tmp_path / "student.keras").count_params() > 0


def test_an_empty_record_gives_a_card_without_results(tmp_path):
    write_model_card(tmp_path / "README.md", {})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "No results were measured." in text
    assert "Its accuracy was not measured." in text
