"""Peak memory of synthesis against the number of impressions.

Each count is synthesised in a process of its own, from the teacher that ships with the package, and
its peak resident memory is read when it ends. The number of steps changes time, not memory.
"""

import tempfile
from typing import Any

from benchmarks import harness, table
from benchmarks.machine import peak_mib

_COUNTS = (1_000, 100_000)
_STEPS = 2


def measure() -> dict[str, Any]:
    """The most impressions against the fewest."""
    peaks = {
        count: harness.run("memory:synthesize", count=count, steps=_STEPS)["peak_mib"]
        for count in _COUNTS
    }
    fewest, most = _COUNTS
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
        "steps": _STEPS,
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
