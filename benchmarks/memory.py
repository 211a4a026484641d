"""Peak memory of synthesis as a function of the number of impressions.

Each number of impressions is synthesized in its own process, from the teacher that ships with the
package, and the peak resident memory is read at the end. The number of steps affects time, not
memory.
"""

import tempfile
from typing import Any

from benchmarks import harness, table
from benchmarks.machine import peak_mib

_COUNTS = (1_000, 100_000)
_STEPS = 2


def measure() -> dict[str, Any]:
    """Compare the largest number of impressions with the smallest."""
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
    """Synthesize into a temporary directory, and return the memory that it took."""
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=steps)
    with tempfile.TemporaryDirectory() as directory:
        generator.generate(count, directory, verbose=0)
    return {"peak_mib": peak_mib()}
