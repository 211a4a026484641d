import html.parser
import re
from unittest.mock import Mock

import numpy as np
import pytest

from keras_zskd.evaluation.report import synthesis_sections
from keras_zskd.evaluation.report.page import write_report


class Page(html.parser.HTMLParser):
    """Collects the text of every element, all attributes, and tags left open."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.attributes, self.tags = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((tag, *attribute) for attribute in attrs)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page(tmp_path, run, impressions, monkeypatch):
    """A function that writes a report and reads it."""

    def write(run=run, impressions=impressions, attention=None):
        path = tmp_path / "report.html"
        sections = []
        if impressions is not None:
            if isinstance(attention, Exception):
                monkeypatch.setattr(
                    synthesis_sections, "attention_maps", Mock(side_effect=attention)
                )
            else:
                monkeypatch.setattr(synthesis_sections, "attention_maps", lambda *_: attention)
            names, models = run.get("class_names"), attention and {"teacher": None}
            sections = synthesis_sections.impression_sections(
                impressions, (0.0, 1.0), 2.0, models or {}, names
            )
        write_report(path, run, sections)
        return Page(path.read_text(encoding="utf-8"))

    return write


def test_the_page_is_well_formed_and_self_contained(page, impressions):
    maps = {name: np.random.default_rng(0).uniform(size=(4, 8, 8)) for name in ("teacher", "it")}
    found = page(attention=maps)
    assert found.open == []
    assert not {"script", "link", "iframe", "object", "embed"} & set(found.tags)
    addresses = [
        v for _, name, v in found.attributes if name in ("src", "href", "srcset", "action")
    ]
    assert len(addresses) == 3 + 12 + 3 * 4  # Means, impressions, and three rows of four maps.
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    style = found.text[: found.text.index("zskd: a student of lenet5", 40)]
    assert "url(" not in style
    assert "@import" not in style
    policies = [v for _, name, v in found.attributes if name == "content" and "default-src" in v]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_results_are_in_the_table(page):
    text = page().text
    assert "teacher 99.12 % 100.00 % 61,706 248.0 kB 0.31" in text
    assert "student int8 - 99.21 % 35,820 44.3 kB 0.0456" in text
    assert "Measured on mnist (test, 10000 images, used to measure only)." in text
    assert "only used for the evaluation, not for synthesis or training" in text


def test_without_a_dataset_the_page_states_that_accuracy_is_unknown(page, run):
    for row in run["results"]["rows"]:
        row["accuracy"] = None
    run["results"]["measured_on"] = "1000 held-out impressions"
    text = page().text
    assert "Accuracy was not measured." in text
    assert "only used for the evaluation" not in text


def test_a_method_with_real_data_does_not_claim_to_be_data_free(page, run):
    run["origin"] = {
        "inputs": "training images", "uses_data": True,
        "text": "They are real: the training split of mnist.",
    }  # fmt: skip
    text = page(impressions=None).text
    assert "trained on training images. They are real: the training split of mnist." in text
    assert "Training also used real data" in text
    assert "Impressions" not in text
    assert "synthetic" not in text


def test_impressions_are_shown_with_target_and_achieved_confidence(page, impressions):
    impressions["logits"][0] = [2.0 * np.log(6.0), 0.0, 0.0]  # 6 / 8 at temperature 2.
    found = page()
    assert "1.00 → 0.75" in found.text
    assert found.text.count("mean of 4") == 3
    # The target of the last impression is the third class; the teacher predicts the first.
    misses = re.findall(r"0\.05 cat", found.text)
    assert len(misses) == 1
    alts = [value for tag, name, value in found.attributes if name == "alt"]
    assert alts.count("impression of a|b") == 4


def test_the_text_depends_on_the_measures(page, impressions):
    good = page().text
    assert "91.67 %" in good  # 11 of 12.
    assert "The teacher predicts the target class for most impressions, but not for all." in good
    assert "may leak" in good or "reveal what the teacher memorized" in good
    assert "not reached" not in good
    assert "near-duplicates: the diversity is low" not in good
    impressions["gap"][:] = 1.5
    impressions["logits"] = np.roll(impressions["logits"], 1, axis=1)
    impressions["image"][:] = 0.5
    bad = page().text
    assert "these impressions are poor" in bad
    assert "A mean gap of 1.50 nats means that the targets are not reached" in bad
    assert "100.00 % are near-duplicates" in bad


def test_curves_configuration_and_times(page):
    found = page()
    charts = [value for tag, name, value in found.attributes if name == "aria-label"]
    assert {"Loss", "Agreement and accuracy", "learning_rate", "Histogram of the gap"} < set(charts)
    assert "priors [TotalVariation(weight=0.01)]" in found.text
    assert "impressions 1 min 23 s" in found.text
    assert "export 5.0 s" in found.text
    assert "seed 7" in found.text
    assert "student_int8.tflite, 44.3 kB" in found.text


def test_names_are_escaped(page):
    found = page()
    assert "dog <b>" in found.text
    assert found.tags.count("b") == 4  # Three classes and the word Privacy.


def test_failed_attention_maps_show_the_reason(page):
    assert (
        "could not be computed. ImportError: no <tf-keras-vis>"
        in page(attention=ImportError("no <tf-keras-vis>")).text
    )
    assert "Attention maps" not in page().text


@pytest.mark.parametrize("shape", [(12, 10), (12, 8, 8, 3), (12, 96, 80, 3)])
def test_inputs_of_other_shapes(page, impressions, shape):
    impressions["image"] = np.random.default_rng(0).uniform(size=shape)
    assert "12" in page().text


def test_an_empty_record_gives_a_page_without_results(page):
    text = page(run={}, impressions=None).text
    assert "No results were measured." in text
    assert "No training history was recorded." in text
