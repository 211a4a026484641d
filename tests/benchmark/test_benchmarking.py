"""The benchmark as a job: runs, resuming, results files, failures."""

import dataclasses
import json
import re
import subprocess

import numpy as np
import pytest

from keras_zskd import cli
from keras_zskd.benchmark.suite import Suite
from keras_zskd.core.errors import InputError
from keras_zskd.jobs import benchmarking
from keras_zskd.jobs.benchmarking import benchmark
from keras_zskd.jobs.running import run_row


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs jobs in this process, which is faster; the list of the rows that ran."""
    ran = []

    def run(job, log, environment):
        ran.append((job["name"], job["seed"]))
        try:
            run_row(**{**job, "suite": Suite.from_json(job["suite"])})
        except InputError as error:
            return str(error)
        return None

    monkeypatch.setattr(benchmarking, "_in_process", run)
    return ran


def test_rows_run_once_and_write_their_results(results, suite, in_this_process, capsys):
    done = benchmark(suite, results.directory, methods="zskd,student_ce", seeds=1)
    assert in_this_process == [("zskd-half", 0), ("student_ce-half", 0)]
    assert done.missing == []
    impressions, labels = done.results
    assert impressions["accuracy"]["teacher"] > 0.95
    assert labels["accuracy"]["last"] > 0.9
    assert labels["inputs"] == 180
    for found in done.results:
        accuracy = found["accuracy"]
        assert accuracy["last"] <= accuracy["best"]
        assert found["forwards"] == pytest.approx(5_000, rel=0.15)
        assert [point[0] for point in found["curve"]] == sorted(p[0] for p in found["curve"])
        assert found["curve"][-1] == [pytest.approx(found["forwards"], abs=1), accuracy["last"]]
        assert found["measured_on"].endswith("(test, 100 images)")
        assert found["peak_memory"] > 1e8
        assert found["diversity"]["effective_rank"] > 1
        assert not results.run_path(found["row"], 0).exists()
    count = impressions["method"]["config"]["num_impressions"]
    assert impressions["inputs"] == count - min(1_000, count // 10)
    assert [stage["name"] for stage in impressions["stages"]] == ["impressions", "training"]
    assert re.search(r"1/2 zskd-half, seed 0: [\d.]+ % - about", capsys.readouterr().out)
    assert "DI" in (results.directory / "tiny.md").read_text()
    benchmark(suite, results.directory, methods="zskd,student_ce", seeds=1)
    assert len(in_this_process) == 2


def test_a_method_that_needs_records_gets_them(results, suite, in_this_process):
    row = dataclasses.replace(suite.rows[0], name="lopes-half", method="lopes")
    suite = dataclasses.replace(suite, rows=(row,))
    done = benchmark(suite, results.directory, seeds=1)
    assert done.missing == []
    assert done.results[0]["accuracy"]["last"] > 0.4
    assert [path.name for path in results.directory.glob("*-records.npz")] == [
        f"{results.teacher_path('tiny').stem}-records.npz"
    ]


def test_a_row_runs_in_a_process_and_an_absent_method_is_missing(
    results, suite, monkeypatch, capsys
):
    monkeypatch.setattr(benchmarking, "SUITES", {"tiny": suite})
    arguments = ["benchmark", "--suite=tiny", f"--output_dir={results.directory}", "--seeds=1"]
    arguments += ["--methods=student_ce,not_there"]
    assert cli.main(["keras-zskd", *arguments]) == 2
    found = results.read("student_ce-half", 0)
    assert found["accuracy"]["last"] > 0.9
    assert found["seconds"] > 0
    captured = capsys.readouterr()
    assert "2/2 later-half, seed 0: failed: `method` must be one of" in captured.out
    assert "| a later method |  | missing |" in captured.out
    assert "without later-half (seed 0). Failed: later-half, seed 0 (`method` must" in captured.err
    assert captured.err.endswith("). Run the same command to try these again.\n")
    saved = results.directory / "table.json"
    assert cli.main(["keras-zskd", *arguments, "--table", f"--json={saved}"]) == 2
    assert "without later-half (seed 0). Run the command without --table" in capsys.readouterr().err
    assert json.loads(saved.read_text())["failures"] == {}
    arguments = [*arguments[:-1], "--methods=student_ce", "--table", f"--json={saved}"]
    assert cli.main(["keras-zskd", *arguments]) == 0
    assert json.loads(saved.read_text())["results"] == [found]


def test_a_failed_process_says_why(tmp_path, monkeypatch):
    def fail(code, said):
        done = subprocess.CompletedProcess([], code, stderr=said)
        monkeypatch.setattr(subprocess, "run", lambda *arguments, **settings: done)
        return benchmarking._in_process({}, tmp_path / "log")

    assert fail(0, "a warning\n") is None
    assert fail(2, "a remark\n`tau` must be positive.\n") == "`tau` must be positive."
    assert not (tmp_path / "log").exists()
    assert fail(1, "Traceback\nValueError: no\n").startswith("exit code 1: ValueError: no The")
    assert (tmp_path / "log").read_text() == "Traceback\nValueError: no\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"suite": "imagenet"}, "'imagenet'"),
        ({"seeds": 0}, "seeds=0"),
        ({"budget": -1.0}, "budget=-1"),
        ({"methods": "zskd,zkd"}, "Received: zkd"),
    ],
)
def test_invalid_arguments_are_rejected(suite, tmp_path, arguments, said):
    with pytest.raises(InputError, match=said):
        benchmark(**{"suite": suite, "output_dir": tmp_path / "new", **arguments})
    assert not (tmp_path / "new").exists()


def test_the_table_alone_runs_nothing(suite, tmp_path, in_this_process):
    done = benchmark(suite, tmp_path / "new", table=True)
    assert len(done.missing) == 3
    assert in_this_process == []
    assert not (tmp_path / "new").exists()
    assert np.array(done.figures).size == 0
