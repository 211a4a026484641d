"""RUN/run.json: always up to date, and one request per directory."""

import json

import pytest

from keras_zskd import InputError
from keras_zskd.runs.record import RunRecord

REQUEST = {"method": "zskd", "seed": 3}


def read(directory):
    return json.loads((directory / "run.json").read_text())


def test_the_request_is_written_immediately(tmp_path):
    RunRecord(tmp_path / "deep" / "run", REQUEST)
    run = read(tmp_path / "deep" / "run")
    assert run["request"] == REQUEST
    assert run["keras"].startswith("3.")


def test_times_of_interrupted_stages_add_up(tmp_path):
    record = RunRecord(tmp_path / "run", REQUEST)
    record.update(stages={"impressions": {"kind": "synthesis", "seconds": 10.0}})

    def interrupted():
        with record.timed("impressions", "synthesis", num_impressions=5) as found:
            found["made"] = 3
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    stage = read(tmp_path / "run")["stages"]["impressions"]
    assert (stage["kind"], stage["num_impressions"], stage["made"]) == ("synthesis", 5, 3)
    assert 10.0 <= stage["seconds"] < 11.0


def test_the_same_request_resumes_and_another_is_rejected(tmp_path):
    RunRecord(tmp_path / "run", REQUEST).update(done=True)
    assert RunRecord(tmp_path / "run", REQUEST).run["done"] is True
    with pytest.raises(InputError, match="seed differ"):
        RunRecord(tmp_path / "run", {**REQUEST, "seed": 4})


def test_a_directory_with_other_files_is_rejected_and_kept(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        RunRecord(tmp_path, REQUEST)
    with pytest.raises(InputError, match="holds something else"):
        RunRecord(tmp_path / "notes.txt", REQUEST)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_broken_file_is_reported(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="could not be read"):
        RunRecord(tmp_path, REQUEST)


def test_a_file_of_another_format_is_rejected(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 1, "request": {}}')
    with pytest.raises(InputError, match="must be of format 2"):
        RunRecord(tmp_path, {})
