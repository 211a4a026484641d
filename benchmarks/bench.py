"""Runs all measures, each compared with its peers.

    python -m benchmarks.bench [--only=name,...] [--redo] [--teacher=...]

Writes results/bench.json after every measure, and the table results/bench.md. A measure that is in the
file is not repeated, unless it failed or `--redo` is given. A peer that is not installed
(benchmarks/requirements.txt) is recorded as missing.
"""

import datetime
import importlib
import json
import pathlib
import sys
import time

from absl import app, flags

from benchmarks import table
from benchmarks.machine import Neighbours, machine

# Modules with `measure() -> {"rows": [...]}`, in the order of the table.
MEASURES = (
    "synthesis_lenet5",
    "ceiling_share",
    "step_profile",
    "class_impressions",
    "distillation",
    "import_time",
    "memory",
    "students",
    "two_workers",
    "cold_start",  # The longest by far, so it comes last.
)

_ONLY = flags.DEFINE_list("only", [], f"some of {', '.join(MEASURES)}; default: all")
_REDO = flags.DEFINE_bool("redo", False, "whether to measure again what is in the file")
_TEACHER = flags.DEFINE_string(
    "teacher", "runs/lenet5/teacher_mnist.keras", "teacher of cold_start; trained if missing"
)
_OUTPUT = flags.DEFINE_string("output", "results/bench.json", "the results file")


def main(argv: list[str]) -> None:
    """Measure what is missing, then print the table."""
    del argv
    unknown = set(_ONLY.value) - set(MEASURES)
    if unknown:
        raise app.UsageError(f"--only has {', '.join(sorted(unknown))}, which is not a measure")
    arguments = {"cold_start": {"teacher": _TEACHER.value}}
    output = pathlib.Path(_OUTPUT.value)
    results = {"command": "python -m benchmarks.bench", "measures": {}}
    if output.exists():
        results = json.loads(output.read_text())
    for name in _ONLY.value or MEASURES:
        if "rows" in results["measures"].get(name, {}) and not _REDO.value:
            print(f"{name}: in {output} already", flush=True)
            continue
        print(f"{name} ...", flush=True)
        taken = _measure(name, **arguments.get(name, {}))
        measures = {**results["measures"], name: taken}
        results["measures"] = {name: measures[name] for name in MEASURES if name in measures}
        table.write(output, results)
        print(f"{name}: {taken['seconds']:.0f} s {taken.get('error', '')}", flush=True)
    print(table.markdown(results))


def _measure(name: str, **arguments: str) -> dict:
    """Return what a module measures, or its error, so that the other measures still run."""
    begun, neighbours = time.perf_counter(), Neighbours()
    try:
        result = importlib.import_module(f"benchmarks.{name}").measure(**arguments)
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    return {
        "machine": machine(),
        "neighbours": neighbours.share(),
        "date": datetime.date.today().isoformat(),
        "seconds": round(time.perf_counter() - begun, 1),
        **result,  # Last, since a measure may override "neighbours".
    }


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
