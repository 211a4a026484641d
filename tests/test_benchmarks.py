"""The benchmarks without their numbers: tables, missing peers, and light imports."""

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver

ROOT = Path(__file__).resolve().parent.parent
# The benchmarks are not part of the installed package.
sys.path.append(str(ROOT))

from benchmarks import bench, distillation, harness, machine, networks, synthesis_lenet5, table

MACHINE = {
    "hardware": "a processor, 2 cores, no accelerator",
    "threads": 2,
    "python": "3.11.0",
    "versions": {"keras": "3.15", "torch": "not installed"},
}


def test_the_table_of_a_tiny_result(tmp_path):
    fast = table.fastest(
        {"rates": {"batch 1": [1.0, 3.0, 2.0], "batch 2": [4000.0, 1000.0, 3000.0]}}
    )
    peer = table.fastest({"rates": {"": [1500.0]}})
    absent = table.fastest({"missing": "not installed (torch)"})
    rows = [
        table.row("speed", "images/s", fast, "a peer", peer, "4x"),
        table.row("speed", "images/s", fast, "another", absent, "4x"),
    ]
    size = table.row(
        "size", "MiB", {"median": 12.5}, "few", {"median": 10.0}, "+3 MiB", "difference"
    )
    measures = {
        "speed": {"rows": rows, "machine": MACHINE, "neighbours": 0.31},
        "size": {"rows": [size], "machine": MACHINE, "neighbours": 0.01},
        "other": {"error": "ValueError: a | b", "machine": MACHINE},
    }
    table.write(tmp_path / "new" / "bench.json", {"measures": measures})
    lines = (tmp_path / "new" / "bench.md").read_text().splitlines()
    assert lines[2:6] == [
        "| speed | 3,000 (4,000) images/s, batch 2 | a peer: 1,500 (1,500) images/s | 2.00x | 4x "
        "| `python -m benchmarks.bench --only=speed` |",
        "| speed | 3,000 (4,000) images/s, batch 2 | another: not installed (torch) |  | 4x |  |",
        "| size | 12.5 MiB | few: 10 MiB | +2.5 MiB | +3 MiB "
        "| `python -m benchmarks.bench --only=size` |",
        "| other | failed: ValueError: a / b |  |  |  | `python -m benchmarks.bench --only=other` |",
    ]
    rest = "\n".join(lines[6:])
    assert (
        rest.count("a processor, 2 cores, no accelerator, 2 threads; Python 3.11.0, keras 3.15")
        == 1
    )
    assert "of all cores: speed 31 %." in rest
    assert json.loads((tmp_path / "new" / "bench.json").read_text())["measures"] == measures


def test_measures_of_two_machines_are_distinguished():
    measures = {
        "one": {"rows": [], "machine": MACHINE},
        "two": {"rows": [], "machine": {**MACHINE, "threads": 8}},
    }
    text = table.markdown({"measures": measures})
    assert "one: a processor, 2 cores, no accelerator, 2 threads" in text
    assert "two: a processor, 2 cores, no accelerator, 8 threads" in text


@pytest.fixture
def module(monkeypatch):
    """A module of sides, one of which needs a missing package."""
    sides = types.ModuleType("benchmarks.sides")
    sides.add = lambda a, b: {"rates": {"": [a + b]}}

    def lacking(package):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    sides.lacking = lacking
    monkeypatch.setitem(sys.modules, "benchmarks.sides", sides)


@pytest.mark.usefixtures("module")
def test_a_side_prints_its_result(capsys):
    harness._child("sides:add", '{"a": 1, "b": 2}')
    assert 'RESULT: {"rates": {"": [3]}}' in capsys.readouterr().out


@pytest.mark.usefixtures("module")
def test_a_peer_that_is_not_installed_is_reported_as_missing(capsys):
    harness._child("sides:lacking", '{"package": "torch.nn"}')
    assert 'RESULT: {"missing": "not installed (torch)"}' in capsys.readouterr().out
    with pytest.raises(ModuleNotFoundError):
        harness._child("sides:lacking", '{"package": "keras_zskd"}')


def test_sides_alternate_and_only_peers_may_fail(monkeypatch, capsys):
    ran = []

    def run(function, **arguments):
        ran.append(function)
        if function == "m:broken":
            raise harness.SideError("exit code 1")
        return {"rates": {"batch 1": [len(ran)]}, **arguments}

    monkeypatch.setattr(harness, "run", run)
    sides = {"ours": ("m:ours", {"kept": 1}), "peer": ("m:peer", {}), "other": ("m:broken", {})}
    results = harness.alternate(sides, 3, optional=["peer", "other"])
    assert ran == ["m:ours", "m:peer", "m:broken", "m:ours", "m:peer", "m:ours", "m:peer"]
    assert results["ours"] == {"rates": {"batch 1": [1, 4, 6]}, "kept": 1}
    assert results["other"] == {"missing": "failed: exit code 1"}
    with pytest.raises(harness.SideError):
        harness.alternate({"ours": ("m:broken", {})}, 1)


def test_a_failing_process_reports_its_last_line(monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    with pytest.raises(harness.SideError, match=r"exit code 1: .*no_such_module"):
        harness.run("no_such_module:side")
    assert "ModuleNotFoundError" in capfd.readouterr().err


def test_only_failed_measures_are_repeated(tmp_path, monkeypatch, capsys):
    output = tmp_path / "bench.json"
    answers = iter([ValueError("no luck"), {"rows": []}, {"rows": [], "again": True}])
    measured = []

    def measure():
        measured.append(1)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("benchmarks.import_time.measure", measure)

    def entry(*more):
        with flagsaver.flagsaver():
            bench.flags.FLAGS(["bench", "--only=import_time", f"--output={output}", *more])
            bench.main([])
        return json.loads(output.read_text())["measures"]["import_time"]

    assert entry()["error"] == "ValueError: no luck"
    assert entry()["rows"] == []
    assert "again" not in entry()
    assert len(measured) == 2
    assert entry("--redo")["again"]


def test_rates_exclude_the_warm_up():
    calls = []
    assert len(harness.rates(lambda: calls.append(1), work=1.0, seconds=0.0)) == 2
    assert len(calls) == 3


def test_every_measure_is_importable_without_peers_and_light():
    code = (
        "import importlib, sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'tf_keras_vis', 'tensorflow', 'keras')))\n"
        "from benchmarks import bench\n"
        "for name in bench.MEASURES:\n"
        "    print(name, callable(importlib.import_module(f'benchmarks.{name}').measure))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 5
    assert all(line.endswith(" True") for line in lines)


def test_the_load_of_other_processes_is_measured(monkeypatch):
    for name, values in {
        "time.perf_counter": [100.0, 103.0],
        "os.cpu_count": [2],
        "_busy_seconds": [10.0, 16.0],
        "_own_seconds": [1.0, 4.0],
    }.items():
        values = iter(values)
        monkeypatch.setattr(f"benchmarks.machine.{name}", lambda values=values: next(values))
    assert machine.Neighbours().share() == 0.5


def test_resnet18_has_the_size_of_the_published_one():
    model = networks.resnet18()
    assert sum(np.prod(weight.shape) for weight in model.trainable_weights) == 11_173_962


def test_different_updates_are_distinguished():
    ours = np.random.default_rng(0).normal(size=(20, 4, 4, 1))
    assert synthesis_lenet5.compare(ours + 1e-6, ours)["same_update"]
    one_image_apart = ours.copy()
    one_image_apart[0] += 1.0
    assert synthesis_lenet5.compare(one_image_apart, ours)["same_update"]
    assert not synthesis_lenet5.compare(ours + 1e-3, ours)["same_update"]


def test_distillation_is_first_compared_on_equal_terms(monkeypatch):
    names = ("ours augmented", "keras.distillation.Distiller", "ours cached")
    results = {
        name: {
            "rates": {
                "arrays": [100.0 * number],
                "tf.data": [110.0 * number],
                "batches": [120.0 * number],
                "batches, 8 steps a call": [150.0 * number],
            }
        }
        for number, name in enumerate(names, 1)
    }
    results["Model.fit on cached logits"] = {"missing": "not installed"}
    monkeypatch.setattr(harness, "alternate", lambda *arguments, **settings: results)
    rows = {
        (row["what"], row["peer_name"]): row["ratio"]
        for row in distillation.measure()["rows"]
        if "keras.distillation" in row["peer_name"]
    }
    peer = "keras.distillation.Distiller"
    assert list(rows.items())[:3] == [
        (("distillation, augmented", f"{peer}, both one step a call"), 0.5),
        (("distillation, augmented", f"{peer}, both 8 steps a call"), 0.5),
        (("distillation, augmented", f"{peer}, as documented"), 150 / 220),
    ]
    assert rows["distillation, cached", f"{peer}, both one step a call"] == 1.5
