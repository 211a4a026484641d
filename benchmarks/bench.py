"""Everything that is measured, next to its peers, in one run.

    python -m benchmarks.bench [--only=name,...] [--redo] [--teacher=...]

Writes results/bench.json after every measure, and the table results/bench.md. A measure that is in the
file is not taken again, unless it failed or `--redo` asks for it. A peer that is not installed
(benchmarks/requirements.txt) is recorded as such.
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
    """What the module measures, or how it failed: the others are measured all the same."""
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
        **result,  # Last: a measure may know better what its neighbours were.
    }


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
