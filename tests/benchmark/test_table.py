"""Tables and figures from results files."""

import dataclasses

import pytest

from keras_zskd.benchmark.charts import draw_all
from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.table import missing, tables
from keras_zskd.core.errors import InputError


@pytest.fixture
def empty(suite, tmp_path):
    return Results(tmp_path / "empty", suite)


def test_a_table_has_published_and_own_figures_and_says_what_is_missing(empty, result):
    empty.write("zskd-half", 0, result("zskd-half", 0, 0.90))
    empty.write("zskd-half", 1, result("zskd-half", 1, 0.92))
    lines = tables(empty, empty.suite.rows, 2).splitlines()
    start = lines.index("## tiny to half")
    teacher, impressions, student, later = lines[start + 4 : start + 8]
    assert teacher.startswith("| Teacher-CE | 99.50 | 99.00 |")
    assert impressions.startswith("| DI | 98.00 | 91.00 ± 1.41 | 95.00 ± 0.00 |")
    assert impressions.endswith("| 2 M (over budget) | 12 | 1.5 GB | 2 |")
    assert student.startswith("| Student-CE |  | missing | missing |")
    assert later.endswith("| missing | 0 of 2 |")
    assert lines[-1] == "Missing: student_ce-half (seeds 0, 1), later-half (seeds 0, 1)."
    assert missing(empty, empty.suite.rows, 1) == [
        "student_ce-half (seed 0)",
        "later-half (seed 0)",
    ]


def test_figures_are_drawn_from_what_exists(empty, result):
    assert draw_all(empty, empty.suite.rows, 2) == []
    empty.write("zskd-half", 0, result("zskd-half"))
    (path,) = draw_all(empty, empty.suite.rows, 2)
    assert path.name == "tiny-cost-half.svg"
    assert "<svg" in path.read_text()
    rows = [
        dataclasses.replace(row, x=10.0, method=row.name) if row.name != "later-half" else row
        for row in empty.suite.rows
    ]
    empty.write("student_ce-half", 0, result("student_ce-half"))
    (path,) = draw_all(empty, rows, 2)
    assert path.name == "tiny-impressions.svg"


def test_results_of_another_version_or_budget_are_rejected(empty, result):
    empty.write("zskd-half", 0, result("zskd-half"))
    empty.check_budget(1e3)
    with pytest.raises(InputError, match="budget=2000"):
        empty.check_budget(2e3)
    empty.path("zskd-half", 0).write_text("{}")
    with pytest.raises(InputError, match="format None"):
        empty.read("zskd-half", 0)
