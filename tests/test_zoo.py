"""A short part of `benchmarks.zoo`: that every teacher is what it says is left to the command."""

import pytest

from benchmarks import zoo
from benchmarks.zoo_teachers import TEACHERS
from keras_zskd.core.errors import InputError

pytestmark = pytest.mark.usefixtures("without_xla")
WORKING = ("rows", "name_with_newline")
REFUSED = (
    "tokens",
    "hashing",
    "int8",
    "lambda_activation",
    "huber",
    "detector",
    "renamed_weights",
    "no_model",
)


def test_there_are_enough_teachers_and_kinds():
    assert len(TEACHERS) >= 120
    assert len({entry.kind for entry in TEACHERS.values()}) >= 30


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WORKING)
def test_a_teacher_is_distilled_and_exported(name, tmp_path):
    found = zoo.examine(name, str(tmp_path), {"minutes": 0})
    assert (found["failure"], found["student"]) == ("", "width")
    assert found["formats"] == dict.fromkeys(
        ("student", "student.tflite", "student_int8.tflite"), "yes"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_teacher_is_refused_in_a_sentence(name, tmp_path):
    found = zoo.examine(name, str(tmp_path))
    assert found["failure"] == ""
    assert found["refusal"].startswith("`")
    assert "Received:" in found["refusal"]
    assert list(found["seconds"]) == ["teacher"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("`x` must be 1."), "inspect: `x` must be 1."),
        (ValueError("no\nway"), "inspect: ValueError in elsewhere: no way"),
    ],
)
def test_an_error_after_the_teacher_was_read_is_a_failure(error, line, tmp_path, monkeypatch):
    def fail(teacher):
        raise error

    monkeypatch.setattr("keras_zskd.jobs.inspecting.inspect", fail)
    assert zoo.examine("rows", str(tmp_path))["failure"] == line


def test_the_table_counts_by_kind():
    works = {"name": "a", "kind": "tables", "failure": "", "formats": {"litert": "yes"}}
    runs = [
        {**works, "seconds": {"inspect": 1.0}},
        {**works, "name": "b", "failure": "distill: no", "seconds": {"inspect": 4.0}},
        {"name": "c", "kind": "text", "failure": "", "refusal": "It must.", "seconds": {}},
    ]
    head, *_, tables, text, _, _, _, failed = zoo._lines(runs)
    assert head.startswith("3 teachers of 2 kinds: 1 work, 1 are refused")
    assert tables == "| tables | 2 | 1 | 0 | 1 | 0 | 0 | 2 | 0 | 0 | 0 | 0 | 0 | 0 | 2 |  |  |"
    assert text.startswith("| text | 1 | 0 | 1 | 0 |")
    assert failed == "* b: distill: no"
