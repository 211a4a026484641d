"""What measurements depend on: hardware, threads, versions, and what else was running."""

import importlib.metadata
import os
import pathlib
import platform
import time
from typing import Any

_PACKAGES = ("keras-zskd", "tensorflow", "keras", "torch", "tf-keras-vis", "numpy")


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def hardware() -> str:
    """Return processor and cores, as printed in the tables."""
    accelerator = "an NVIDIA GPU" if pathlib.Path("/dev/nvidiactl").exists() else "no accelerator"
    return f"{_processor()}, {os.cpu_count()} cores, {accelerator}"


def machine() -> dict[str, Any]:
    """Return hardware, threads and versions as plain JSON types."""
    return {
        "hardware": hardware(),
        # TensorFlow uses as many by default; for PyTorch they are set.
        "threads": num_cores(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


class Neighbours:
    """Processor time that other processes use during a measurement, from the constructor on.

    All time that is neither idle nor ours counts, including what a hypervisor takes away.
    """

    def __init__(self) -> None:
        self._begun, self._busy, self._own = time.perf_counter(), _busy_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Return their share of all cores so far, in [0, 1]; None if it is not known."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        passed = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        others = busy - self._busy - (_own_seconds() - self._own)
        return round(max(0.0, others / passed), 3)


def peak_mib() -> float:
    """Return the peak resident memory of this process so far, in MiB."""
    try:
        # Unlike getrusage, this does not count the memory of the process before it ran this
        # program.
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
    """Processor time of this process, and of its child processes that have ended."""
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
