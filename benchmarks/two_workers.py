"""Impressions per second of two workers of one core each, over one worker of one core.

Each worker is a process pinned to a core of its own, with a `TF_CONFIG` for
`MultiWorkerMirroredStrategy` on this machine; both fill one directory with one job, of the default
recipe but for fewer steps. All workers first fill a small directory, which compiles everything, then
wait for each other; the time is from when the last one is ready to when the last one is done. The
single worker does the same without a strategy.
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

_COUNT, _WARM_COUNT, _STEPS = 8_000, 2_000, 10
_TIMEOUT = 300.0


def measure(repetitions: int = 2) -> dict[str, Any]:
    """One worker and two workers in turn."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    rates: dict[int, list[float]] = {1: [], 2: []}
    missing = "" if len(cores) >= 2 else "needs two cores that processes can be pinned to"
    for repetition in range(0 if missing else repetitions):
        for number, found in rates.items():
            print(f"    {number} worker(s), {repetition + 1} of {repetitions}", flush=True)
            found.append(_COUNT / _seconds(cores[:number]))
    one, two = (
        {"median": statistics.median(found), "best": max(found), "count": len(found)}
        if found
        else {"missing": missing}
        for found in rates.values()
    )
    return {
        "rows": [
            table.row("synthesis, two workers", "impressions/s", two, "one worker", one, "1.9x")
        ],
        "num_impressions": _COUNT,
        "steps": _STEPS,
    }


def _seconds(cores: list[int]) -> float:
    """Seconds of the whole job with a worker on each of `cores`."""
    addresses = [f"localhost:{port}" for port in _free_ports(len(cores))]
    with tempfile.TemporaryDirectory() as directory, futures.ThreadPoolExecutor() as threads:
        workers = []
        try:
            for index, core in enumerate(cores):
                task = {"type": "worker", "index": index}
                config = json.dumps({"cluster": {"worker": addresses}, "task": task})
                environment = {"TF_CONFIG": config} if len(cores) > 1 else {}
                worker = {"core": core, "index": index, "num_workers": len(cores)}
                job = {"num_impressions": _COUNT, "steps": _STEPS, "directory": directory}
                workers.append(harness.start("two_workers:work", environment, **worker, **job))
            waiting = [threads.submit(harness.finish, worker, _TIMEOUT) for worker in workers]
            # The first that fails ends it: the other would wait for it in vain.
            done = [future.result() for future in futures.as_completed(waiting)]
        finally:
            for worker in workers:
                harness.end(worker)
    if any(part["num_impressions"] != _COUNT for part in done):
        raise harness.SideError(f"expected {_COUNT} impressions of every worker, got {done}")
    return max(part["end"] for part in done) - max(part["ready"] for part in done)


def work(
    core: int, index: int, num_workers: int, num_impressions: int, steps: int, directory: str
) -> dict[str, Any]:
    """One worker: warm up, meet, fill the shared directory."""
    os.sched_setaffinity(0, {core})  # First of all: TensorFlow counts the cores when it starts.
    import tensorflow as tf

    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    strategy = tf.distribute.get_strategy()
    if num_workers > 1:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=steps)
    shared = pathlib.Path(directory)
    generator.generate(_WARM_COUNT, shared / "warm", seed=1, verbose=0)
    (shared / f"ready_{index}").touch()
    while len(list(shared.glob("ready_*"))) < num_workers:
        time.sleep(0.01)
    ready = time.time()
    impressions = generator.generate(num_impressions, shared / "impressions", seed=0, verbose=0)
    return {"ready": ready, "end": time.time(), "num_impressions": impressions.num_impressions}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for bound in sockets:
        bound.bind(("localhost", 0))
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports
