"""Impressions per second of two workers of one core each, over one worker of one core.

Each worker is a process pinned to a core of its own, with a `TF_CONFIG` for
`MultiWorkerMirroredStrategy` on this machine; both fill one directory with one job, of the default
recipe but for fewer steps. All workers first fill a small directory, which compiles everything, then
wait for each other; the time is from when the last one is ready to when the last one is done. The
single worker does the same without a strategy. What two cores can do for two processes at all is shown
by two strangers: each does half of the job in a directory of its own.
"""

import json
import os
import pathlib
import socket
import statistics
import tempfile
import time
from concurrent import futures
from typing import Any

from benchmarks import harness, table

_COUNT, _WARM_COUNT, _STEPS = 20_000, 2_000, 10
_TIMEOUT = 300.0


def measure(repetitions: int = 2) -> dict[str, Any]:
    """One worker, two workers and two strangers in turn."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    jobs = {
        "one worker": {"cores": cores[:1]},
        "two workers": {"cores": cores[:2]},
        "two strangers": {"cores": cores[:2], "strangers": True},
    }
    missing = "" if len(cores) >= 2 else "needs two cores that processes can be pinned to"
    rates: dict[str, list[float]] = {name: [] for name in jobs}
    for repetition in range(0 if missing else repetitions):
        for name, job in jobs.items():
            print(f"    {name}, {repetition + 1} of {repetitions}", flush=True)
            rates[name].append(_COUNT / _seconds(**job))
    found = {
        name: {"median": statistics.median(some), "best": max(some), "count": len(some)}
        if some
        else {"missing": missing}
        for name, some in rates.items()
    }
    what, unit, ours = "synthesis, two workers", "impressions/s", found["two workers"]
    rows = [
        table.row(what, unit, ours, "one worker", found["one worker"], "1.9x"),
        table.row(what, unit, ours, "two strangers", found["two strangers"]),
    ]
    return {"rows": rows, "num_impressions": _COUNT, "steps": _STEPS}


def _seconds(cores: list[int], strangers: bool = False) -> float:
    """Seconds of the whole job with a process on each of `cores`."""
    addresses = [f"localhost:{port}" for port in _free_ports(len(cores))]
    is_shared = len(cores) > 1 and not strangers
    count = _COUNT // len(cores) if strangers else _COUNT
    with tempfile.TemporaryDirectory() as directory, futures.ThreadPoolExecutor() as threads:
        workers = []
        try:
            for index, core in enumerate(cores):
                task = {"type": "worker", "index": index}
                config = json.dumps({"cluster": {"worker": addresses}, "task": task})
                environment = {"TF_CONFIG": config} if is_shared else {}
                name = f"impressions_{index}" if strangers else "impressions"
                job = {"num_impressions": count, "steps": _STEPS, "name": name}
                place = {"core": core, "index": index, "directory": directory}
                meeting = {"num_workers": len(cores), "is_shared": is_shared}
                workers.append(
                    harness.start("two_workers:work", environment, **place, **meeting, **job)
                )
            waiting = [threads.submit(harness.finish, worker, _TIMEOUT) for worker in workers]
            # The first that fails ends it: the other would wait for it in vain.
            done = [future.result() for future in futures.as_completed(waiting)]
        finally:
            for worker in workers:
                harness.end(worker)
    if any(part["num_impressions"] != count for part in done):
        raise harness.SideError(f"expected {count} impressions of every worker, got {done}")
    return max(part["end"] for part in done) - max(part["ready"] for part in done)


def work(
    core: int,
    index: int,
    directory: str,
    num_workers: int,
    is_shared: bool,
    num_impressions: int,
    steps: int,
    name: str,
) -> dict[str, Any]:
    """One process: warm up, meet the others, fill a directory, which they may share."""
    os.sched_setaffinity(0, {core})  # First of all: TensorFlow counts the cores when it starts.
    import tensorflow as tf

    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    strategy = tf.distribute.get_strategy()
    if is_shared:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=steps)
    shared = pathlib.Path(directory)
    generator.generate(_WARM_COUNT, shared / f"warm_{name}", seed=1, verbose=0)
    (shared / f"ready_{index}").touch()
    while len(list(shared.glob("ready_*"))) < num_workers:
        time.sleep(0.01)
    ready = time.time()
    impressions = generator.generate(num_impressions, shared / name, seed=0, verbose=0)
    return {"ready": ready, "end": time.time(), "num_impressions": impressions.num_impressions}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("localhost", 0))
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports
