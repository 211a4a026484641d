"""The facts that a number depends on: hardware, threads, versions, and what else was running."""

import importlib.metadata
import os
import pathlib
import platform
import time
from typing import Any

_PACKAGES = ("keras-zskd", "tensorflow", "keras", "torch", "tf-keras-vis", "numpy")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """Processor and cores, as the tables print them."""
    return f"{_processor()}, {os.cpu_count()} cores, no accelerator"


def machine() -> dict[str, Any]:
    """Hardware, threads and versions, as plain JSON types."""
    return {
        "hardware": hardware(),
        # TensorFlow takes as many by default; PyTorch is told to.
        "threads": num_cores(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


class Neighbours:
    """How much of the processor others take while something is measured, from now on.

    Everything that is neither idle nor ours counts, and so does what a hypervisor takes away.
    """

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Share of all cores in [0, 1] since then; None where the system does not say."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        passed = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        others = busy - self._busy - (_own_seconds() - self._own)
        return round(max(0.0, others / passed), 3)


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    try:
        # Other than getrusage, this forgets what the process was before it was this program.
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if "VmHWM" in line).split()[1]) / 1024, 1)
    except (OSError, StopIteration):
        import resource

        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _busy_seconds() -> float | None:
    try:
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, *interrupts_and_stolen = map(int, fields)
    return sum((user, nice, system, *interrupts_and_stolen)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Of this process and of those that it has started and seen end."""
    return sum(os.times()[:4])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
