"""Tables that commands print."""

import json

from keras_zskd.core.tables import (
    notes_on_files,
    pairs_table,
    run_summary,
    similarity_table,
    write_json,
)

ROW = {"agreement": 0.9912, "parameters": 15738, "bytes": 66612, "ms_per_image": 0.0287}


def test_a_run_as_a_table():
    run = {
        "results": {
            "measured_on": "digits (test, 5000 images)",
            "rows": [
                {"model": "teacher", "accuracy": 0.9944, **ROW},
                {"model": "student", "accuracy": None, **ROW},
            ],
        },
        "stages": {"impressions": {"seconds": 40.4}, "training": {"seconds": 19.9}},
    }
    table = run_summary(run, "run")
    assert "Measured on digits (test, 5000 images)" in table
    teacher, student = (
        next(line for line in table.splitlines() if line.startswith(name)).split()
        for name in ("teacher", "student")
    )
    assert teacher == ["teacher", "99.44%", "99.12%", "15,738", "66,612", "0.029"]
    assert student[1] == "unknown"
    assert "60 s." in table


def test_pairs_are_aligned():
    assert pairs_table({"a": 1 / 3, "long": "x"}) == "a     0.333333\nlong  x"


def test_write_json_creates_the_directory(tmp_path):
    write_json(str(tmp_path / "deep" / "out.json"), {"a": 1})
    assert json.loads((tmp_path / "deep" / "out.json").read_text()) == {"a": 1}


def test_a_wide_class_similarity_is_shown_as_pairs():
    count = 40
    similarity = [[1.0 if i == j else 0.0 for j in range(count)] for i in range(count)]
    similarity[3][7] = similarity[7][3] = 0.5
    lines = similarity_table(similarity).splitlines()
    assert lines[1].split() == ["3", "7", "0.50"]
    assert len(lines) == 1 + 10


def test_a_slow_int8_file_is_pointed_out():
    times = {"teacher": 0.1, "student": 0.02, "student int8": 0.09}
    rows = [{"model": model, "ms_per_image": taken} for model, taken in times.items()]
    [note] = notes_on_files(rows)
    assert "student int8 is slower than the float32 file" in note
    rows[2]["ms_per_image"] = 0.01
    assert not notes_on_files(rows)
    forms = [{"model": "float32", "ms_per_image": 1.0}, {"model": "int8", "ms_per_image": 2.0}]
    assert len(notes_on_files(forms)) == 1
