"""Impressions per second of two Ray workers of one core each, over two processes that share nothing.

Two strangers are processes pinned to a core each, and each does half of the job in a directory of its
own, after a small one that compiles everything. The workers of Ray do one job in one directory. They
compile at the start of the job, so the time is from when a fifth of the shards are done to the end.
"""

import os
import pathlib
import statistics
import tempfile
import time
from concurrent import futures
from typing import Any

from benchmarks import harness, table

_COUNT, _WARM_COUNT, _STEPS = 20_000, 2_000, 10
_TIMEOUT = 300.0


def measure(repetitions: int = 2) -> dict[str, Any]:
    """Two workers of Ray and two strangers in turn."""
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
    return {"rows": rows, "num_impressions": _COUNT, "steps": _STEPS}


def _rate_of_workers() -> float:
    with tempfile.TemporaryDirectory() as directory:
        driver = harness.start("two_workers:drive", {}, directory=directory)
        try:
            return float(harness.finish(driver, _TIMEOUT)["rate"])
        finally:
            harness.end(driver)


def _rate_of_strangers(cores: list[int]) -> float:
    with tempfile.TemporaryDirectory() as directory, futures.ThreadPoolExecutor() as threads:
        started = []
        try:
            for index, core in enumerate(cores):
                job = {"core": core, "index": index, "directory": directory}
                started.append(harness.start("two_workers:work", {}, **job))
            waiting = [threads.submit(harness.finish, each, _TIMEOUT) for each in started]
            # The first that fails ends it: the other would wait for it in vain.
            done = [future.result() for future in futures.as_completed(waiting)]
        finally:
            for each in started:
                harness.end(each)
    return _COUNT / (max(part["end"] for part in done) - max(part["ready"] for part in done))


def drive(directory: str) -> dict[str, Any]:
    """The driver of two workers: impressions per second once both have compiled."""
    import keras

    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=_STEPS)
    times: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: times.append(time.time()))
    cluster = zskd.Cluster("local", num_workers=2)
    generator.generate(_COUNT, directory, callbacks=[watch], verbose=0, cluster=cluster)
    first = len(times) // 5
    per_shard = _COUNT / len(times)
    return {"rate": per_shard * (len(times) - 1 - first) / (times[-1] - times[first])}


def work(core: int, index: int, directory: str) -> dict[str, Any]:
    """One stranger: warm up, meet the other, fill a directory of its own."""
    os.sched_setaffinity(0, {core})  # First of all: TensorFlow counts the cores when it starts.
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=_STEPS)
    shared = pathlib.Path(directory)
    generator.generate(_WARM_COUNT, shared / f"warm_{index}", seed=1, verbose=0)
    (shared / f"ready_{index}").touch()
    while len(list(shared.glob("ready_*"))) < 2:
        time.sleep(0.01)
    ready = time.time()
    generator.generate(_COUNT // 2, shared / f"impressions_{index}", seed=index, verbose=0)
    return {"ready": ready, "end": time.time()}
