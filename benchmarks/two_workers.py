"""Impressions per second of two Ray workers, relative to two processes that share nothing.

The workers have one core each, and do one job in one directory. The two independent processes,
called strangers, are pinned to one core each, and each does half of the job in its own directory.
All of them compile at the start of the job, and at its end one may wait for the other. Rates are
therefore measured between a fifth and nine tenths of the shards.
"""

import os
import statistics
import tempfile
import time
from concurrent import futures
from typing import Any

from benchmarks import harness, table

_COUNT, _SHARD, _STEPS = 40_000, 500, 10
_TIMEOUT = 300.0


def measure(repetitions: int = 2) -> dict[str, Any]:
    """Measure two Ray workers and two strangers in turn."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    missing = "" if len(cores) >= 2 else "needs two cores that processes can be pinned to"
    jobs = {"two workers": _rate_of_workers, "two strangers": lambda: _rate_of_strangers(cores[:2])}
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for repetition in range(0 if missing else repetitions):
        for name, rate in jobs.items():
            print(f"    {name}, {repetition + 1} of {repetitions}", flush=True)
            rates[name].append(rate())
    found = {
        name: {"median": statistics.median(some), "best": max(some), "count": len(some)}
        if some
        else {"missing": missing}
        for name, some in rates.items()
    }
    what, unit, ours = "synthesis, two workers", "impressions/s", found["two workers"]
    rows = [table.row(what, unit, ours, "two strangers", found["two strangers"], "0.95x")]
    # Not measured, since the Ray workers would count as other processes.
    return {"rows": rows, "num_impressions": _COUNT, "steps": _STEPS, "neighbours": None}


def _rate_of_workers() -> float:
    with tempfile.TemporaryDirectory() as directory:
        return _steady_rate(
            harness.run("two_workers:drive", _TIMEOUT, directory=directory)["times"]
        )


def _rate_of_strangers(cores: list[int]) -> float:
    with tempfile.TemporaryDirectory() as directory, futures.ThreadPoolExecutor() as threads:
        jobs = [{"core": core, "directory": f"{directory}/{core}"} for core in cores]
        runs = [threads.submit(harness.run, "two_workers:work", _TIMEOUT, **job) for job in jobs]
        return _steady_rate([moment for run in runs for moment in run.result()["times"]])


def _steady_rate(times: list[float]) -> float:
    """Return impressions per second, from the times at which the shards were done."""
    times = sorted(times)
    first, last = len(times) // 5, len(times) * 9 // 10
    return _SHARD * (last - first) / (times[last] - times[first])


def drive(directory: str) -> dict[str, Any]:
    """Run the driver of two Ray workers."""
    import keras_zskd as zskd

    return {"times": _make(_COUNT, directory, zskd.Cluster("local", num_workers=2))}


def work(core: int, directory: str) -> dict[str, Any]:
    """Run one stranger, which writes to its own directory."""
    os.sched_setaffinity(0, {core})  # First, since TensorFlow counts cores at its start.
    return {"times": _make(_COUNT // 2, directory)}


def _make(count: int, directory: str, cluster: Any = None) -> list[float]:
    """Make impressions; return the time at which each shard was done."""
    import keras

    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=_STEPS)
    times: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: times.append(time.time()))
    generator.generate(
        count, directory, batch_size=_SHARD, callbacks=[watch], verbose=0, cluster=cluster
    )
    return times
