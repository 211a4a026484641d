import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.rendering import number_text

SVG = "{http://www.w3.org/2000/svg}"


def parsed(markup):
    return ElementTree.fromstring(f"<div>{markup}</div>")


def tips(tree):
    return [tip.text for tip in tree.iter(f"{SVG}title")]


def texts(tree):
    return [text.text for text in tree.iter(f"{SVG}text")]


def test_each_value_of_a_curve_has_a_dot_with_its_number():
    tree = parsed(charts.line_chart({"loss": [4.0, float("nan"), 0.0]}, "epoch", "Loss"))
    assert tips(tree) == ["loss, epoch 1: 4", "loss, epoch 3: 0"]
    assert {"loss", "epoch"} <= set(texts(tree))
    assert tree.find(f"{SVG}svg").get("aria-label") == "Loss"


@pytest.mark.parametrize("values", [[float("nan")], [0.5], [1e-7, 2e-7], [-3.0, 1e6], [1.0] * 100])
def test_curves_of_any_scale_are_drawn(values):
    tree = parsed(charts.line_chart({"a": values}, "epoch", "A"))
    assert "nan" not in ElementTree.tostring(tree, encoding="unicode")
    assert len(tips(tree)) == (0 if np.isnan(values[0]) else 1 if len(values) > 40 else len(values))


def test_heights_of_bars_match_their_values():
    tree = parsed(charts.bar_chart(["a", "b"], {"one": [4, 1], "two": [2, 0]}, "class", "Bars"))
    assert tips(tree) == ["a, one: 4", "b, one: 1", "a, two: 2", "b, two: 0"]
    heights = []
    for group in tree.iter(f"{SVG}g"):
        if group.find(f"{SVG}title") is not None:
            y = [float(v) for v in re.findall(r"[ML] [\d.]+ ([\d.]+)", group[1].get("d"))]
            heights.append(max(y) - min(y))
    np.testing.assert_allclose(np.array(heights) / heights[0], [1.0, 0.25, 0.5, 0.0], atol=1e-6)


def test_many_classes_have_few_labels():
    names = [f"class {i}" for i in range(200)]
    tree = parsed(charts.bar_chart(names, {"n": [1] * 200}, "class", "Bars"))
    assert len(tips(tree)) == 200
    written = [text for text in texts(tree) if text.startswith("cl")]
    assert 2 <= len(written) <= 14  # Includes the label of the axis.


def test_histogram_counts_finite_values():
    tree = parsed(charts.histogram([0.0, 0.1, 0.9, 1.0, np.nan, np.inf], "x", "H", bins=2))
    assert tips(tree) == ["0 to 0.5: 2", "0.5 to 1: 2"]
    parsed(charts.histogram([], "x", "H"))
    parsed(charts.histogram([3.0, 3.0], "x", "H"))


def test_text_has_the_color_of_the_page():
    """A fixed color would be unreadable in dark or in light mode."""
    markup = charts.scatter([0.0, 1.0], [0.0, 1.0], "x", "y", "S")
    assert "currentColor" in markup
    assert not re.search(r"#0{6}|#010203|<text(?![^>]*currentColor)", markup)


def test_names_are_shown_as_they_are():
    name = '<b>&"x" $_^$ \u732b'
    parsed(charts.line_chart({name: [1.0, 2.0]}, name, name))
    tree = parsed(charts.bar_chart([name], {name: [1], "other": [2]}, name, name))
    assert tree.find(".//b") is None
    assert name in texts(tree)


def test_the_same_chart_is_the_same_text():
    first, second = (charts.histogram([1.0, 2.0], "x", "H") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("count", [2, 40])
def test_a_small_matrix_shows_its_values_but_not_the_diagonal(count):
    values = np.full((count, count), -0.0042)
    values[0, 1] = values[1, 0] = -0.25
    np.fill_diagonal(values, 1.0)
    shown = texts(parsed(charts.matrix(values, [str(i) for i in range(count)], "C")))
    assert shown.count("-0.25") == (3 if count == 2 else 1)  # Once in the scale of colors.
    assert "1.00" not in shown


def test_a_matrix_as_a_file(tmp_path):
    charts.write_matrix(tmp_path / "c.png", np.eye(3), "abc")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match=r"must be a path that ends in \.png.*c\.jpg"):
        charts.write_matrix(tmp_path / "c.jpg", np.eye(3), "abc")


def test_format_of_numbers():
    shown = [number_text(v) for v in (0.0, 0.12345, 3.0, 1234.5, 1e6, 1.5e-5, float("nan"))]
    assert shown == ["0", "0.123", "3", "1,234", "1,000,000", "1.5e-05", "nan"]
    assert not re.search("e", number_text(999.4))
