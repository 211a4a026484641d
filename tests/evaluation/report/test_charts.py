import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_zskd.evaluation.report import charts


def parsed(markup):
    return ElementTree.fromstring(f"<div>{markup}</div>")


def test_line_goes_through_its_points():
    tree = parsed(charts.line_chart({"loss": [4.0, 2.0, 0.0]}, "epoch", "Loss"))
    points = tree.find(".//polyline").get("points").split()
    x, y = np.array([[float(v) for v in point.split(",")] for point in points]).T
    assert x.tolist() == [52.0, 240.0, 428.0]
    assert y.tolist() == [12.0, 111.0, 210.0]
    assert [tip.text for tip in tree.findall(".//title")] == [
        "loss, epoch 1: 4",
        "loss, epoch 2: 2",
        "loss, epoch 3: 0",
    ]


def test_values_that_are_not_finite_are_skipped():
    tree = parsed(charts.line_chart({"a": [1.0, float("nan"), 2.0]}, "epoch", "A"))
    assert len(tree.find(".//polyline").get("points").split()) == 2
    assert "nan" not in ElementTree.tostring(tree, encoding="unicode")
    parsed(charts.line_chart({"a": [float("nan")]}, "epoch", "A"))


@pytest.mark.parametrize("values", [[0.0], [0.5, 0.5], [1e-7, 2e-7], [-3.0, 1e6]])
def test_every_curve_stays_inside_its_axes(values):
    tree = parsed(charts.line_chart({"a": values}, "epoch", "A"))
    for point in tree.find(".//polyline").get("points").split():
        x, y = map(float, point.split(","))
        assert 52 <= x <= 428
        assert 12 <= y <= 210


def test_heights_of_bars_match_their_values():
    tree = parsed(charts.bar_chart(["a", "b"], {"one": [4, 1], "two": [2, 0]}, "class", "Bars"))
    heights = [float(bar.get("height")) for bar in tree.findall(".//rect")]
    assert heights == [198.0, 99.0, 49.5, 0.0]
    assert "b, one: 1" in [tip.text for tip in tree.findall(".//title")]


def test_a_thousand_classes_have_few_labels():
    names = [f"class {i}" for i in range(1000)]
    tree = parsed(charts.bar_chart(names, {"n": [1] * 1000}, "class", "Bars"))
    assert len(tree.findall(".//rect")) == 1000
    written = [text.text for text in tree.findall(".//text") if (text.text or "").startswith("cl")]
    assert 2 <= len(written) <= 13  # Includes the label of the axis.


def test_histogram_counts_finite_values():
    tree = parsed(charts.histogram([0.0, 0.1, 0.9, 1.0, np.nan, np.inf], "x", "H", bins=2))
    tips = [tip.text for tip in tree.findall(".//title")]
    assert tips == ["0 to 0.5: 2", "0.5 to 1: 2"]
    parsed(charts.histogram([], "x", "H"))
    parsed(charts.histogram([3.0, 3.0], "x", "H"))


def test_scatter_maps_corners_to_corners():
    tree = parsed(charts.scatter([0.0, 1.0], [0.0, 1.0], "x", "S"))
    places = [(dot.get("cx"), dot.get("cy")) for dot in tree.findall(".//circle")]
    assert places == [("52.0", "210.0"), ("428.0", "12.0")]


def test_names_are_escaped():
    name = '<b>&"x"'
    parsed(charts.line_chart({name: [1.0, 2.0]}, name, name))
    tree = parsed(charts.bar_chart([name], {name: [1], "other": [2]}, name, name))
    assert tree.find(".//b") is None


def test_format_of_numbers():
    texts = [charts.number_text(v) for v in (0.0, 0.12345, 3.0, 1234.5, 1e6, 1.5e-5, float("nan"))]
    assert texts == ["0", "0.123", "3", "1,234", "1,000,000", "1.5e-05", "nan"]
    assert not re.search("e", charts.number_text(999.4))
