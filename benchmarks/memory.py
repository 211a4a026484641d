"""Peak memory of synthesis against the number of impressions.

    python -m benchmarks.memory [--counts=1000,100000] [--steps=2]

Each count is synthesised in a process of its own, from the teacher that ships with the package, and
its peak resident memory is read when it ends. The number of steps changes time, not memory. Writes
results/memory.json.
"""

import json
import pathlib
import sys
import tempfile
from typing import Any

from benchmarks import harness, table
from benchmarks.machine import peak_mib

_COUNTS = (1_000, 100_000)
_STEPS = 2


def measure(counts: tuple[int, ...] = _COUNTS, steps: int = _STEPS) -> dict[str, Any]:
    """The most impressions against the fewest."""
    peaks = {
        count: harness.run("memory:synthesize", count=count, steps=steps)["peak_mib"]
        for count in sorted(counts)
    }
    fewest, most = min(counts), max(counts)
    return {
        "rows": [
            table.row(
                f"peak memory, {most:,} impressions",
                "MiB",
                {"median": peaks[most]},
                f"{fewest:,} impressions",
                {"median": peaks[fewest]},
                "+100 MiB at most",
                "difference",
            )
        ],
        "steps": steps,
        "peak_mib": peaks,
    }


def synthesize(count: int, steps: int) -> dict[str, Any]:
    """Synthesise into a directory that is thrown away, and say how much memory it took."""
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=steps)
    with tempfile.TemporaryDirectory() as directory:
        generator.generate(count, directory, verbose=0)
    return {"peak_mib": peak_mib()}


def _main(argv: list[str]) -> None:
    """Measure, write, print."""
    del argv
    measured = measure(tuple(int(count) for count in flags.FLAGS.counts), flags.FLAGS.steps)
    peaks = measured["peak_mib"]
    result = {
        "command": "python -m benchmarks.memory",
        "steps": measured["steps"],
        "peak_mib": peaks,
        "difference_mib": round(max(peaks.values()) - min(peaks.values()), 1),
    }
    output = pathlib.Path(flags.FLAGS.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":  # The flags too: they are global, and `benchmarks.bench` has its own.
    from absl import app, flags

    flags.DEFINE_list("counts", list(map(str, _COUNTS)), "numbers of impressions")
    flags.DEFINE_integer("steps", _STEPS, "steps per impression")
    flags.DEFINE_string("output", "results/memory.json", "the results file")
    app.run(_main, argv=sys.argv)
