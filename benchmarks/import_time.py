"""Wall time of `import keras_zskd` relative to `import keras` with TensorFlow, in new processes."""

import os
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks import table


def measure(repetitions: int = 7) -> dict[str, Any]:
    """Measure both in turn, after one import of each that fills the disk cache."""
    seconds: dict[str, list[float]] = {"keras": [], "keras_zskd": []}
    for repetition in range(repetitions + 1):
        for package, found in seconds.items():
            passed = _import(package)
            if repetition:
                found.append(passed)
    sides = {
        package: {"median": statistics.median(found), "best": min(found), "count": len(found)}
        for package, found in seconds.items()
    }
    ours, peer = sides["keras_zskd"], sides["keras"]
    return {
        "rows": [
            table.row("import", "s", ours, "import keras", peer, "+0.3 s at most", "difference")
        ]
    }


def _import(package: str) -> float:
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "KERAS_BACKEND": "tensorflow"}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", f"import {package}"],
        env=environment,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun
