"""Synthesis on a Ray cluster of this machine while its workers, nodes and driver are killed.

    python -m benchmarks.cluster [--parts=workers,driver,nodes,shards] [--minutes=20]

The first three parts make a transfer set with the LeNet-5 that ships with the package, and compare
every file of records bit for bit with that of the plain call in one process:

* `workers`: 1, 2 and 7 workers, some of which are killed;
* `driver`: the driver is killed halfway, and the same call is repeated;
* `nodes`: three nodes; 40 workers and 8 nodes are killed at random times within `--minutes`. The
  node of the driver cannot be removed. A killed node is replaced immediately. The plain call runs
  at the same time;
* `shards`: processor time and memory of the driver, for up to 10,000 shards of one 8x8 impression.

Writes results/cluster.json and results/cluster.md. A part that is in the file is not repeated.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time
from concurrent import futures
from typing import Any

from absl import app, flags

from benchmarks import harness
from benchmarks.results_file import ResultsFile, Runs

_PARTS = flags.DEFINE_list("parts", ["workers", "driver", "nodes", "shards"], "some of these")
_MINUTES = flags.DEFINE_float("minutes", 20.0, "of the kills of part `nodes`", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "results/cluster.json", "the results file")

_SMALL = {"count": 2_100, "steps": 60, "shard": 100}
# Large enough to run for 20 minutes on the two cores that this was developed on.
_LARGE = {"count": 45_000, "steps": 300, "shard": 250}
_SHARDS = (100, 1_000, 10_000)
# Titles that Ray gives to the process of a worker: while it starts, during a task, and idle.
_TITLES = ("ray::begin", "ray::shard", "ray::_Actor")
_TIMEOUT = 3 * 3600.0


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    parts = {"workers": _workers, "driver": _driver, "nodes": _nodes, "shards": _shards}
    if unknown := set(_PARTS.value) - set(parts):
        raise app.UsageError(f"--parts has {', '.join(sorted(unknown))}, which is not a part")
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.cluster", _lines)
    for name in _PARTS.value:
        for settings in [{"num_workers": n} for n in (1, 2, 7)] if name == "workers" else [{}]:
            key = {"part": name, **settings}
            if not results.has(key):
                print(*key.values(), "...", flush=True)
                results.add({**key, **parts[name](**settings)})
    results.show()


def _workers(num_workers: int) -> dict[str, Any]:
    kills = {"worker_kills": 3, "minutes": 1.0}
    made = _run("make", **_SMALL, num_workers=num_workers, **kills)
    return {**_SMALL, **_compared(_small_plain(), made)}


def _driver() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        job = {**_SMALL, "num_workers": 2, "directory": directory}
        with contextlib.suppress(harness.SideError):  # Killed on purpose; its workers end too.
            _run("make", **job, ends_after=10)
        kept = _hashes(directory)
        written = {name: os.stat(f"{directory}/{name}").st_mtime_ns for name in kept}
        made = _run("make", **job)
        again = [
            name for name, at in written.items() if os.stat(f"{directory}/{name}").st_mtime_ns != at
        ]
    found = {"shards_before": len(kept), "shards_made_again": len(again), "driver_kills": 1}
    return {**_SMALL, **_compared(_small_plain(), made), **found}


def _nodes() -> dict[str, Any]:
    kills = {"num_nodes": 3, "num_workers": 3, "worker_kills": 40, "node_kills": 8}
    with futures.ThreadPoolExecutor() as threads:  # The plain call runs on one core.
        plain = threads.submit(_run, "make", **_LARGE)
        made = _run("make", **_LARGE, **kills, minutes=_MINUTES.value)
        return {**_LARGE, **_compared(plain.result(), made)}


def _shards() -> dict[str, Any]:
    return _run("count_shards")


def _run(function: str, **arguments: Any) -> dict[str, Any]:
    return harness.run(f"cluster:{function}", _TIMEOUT, **arguments)


@functools.cache
def _small_plain() -> dict[str, Any]:
    return _run("make", **_SMALL)


def _compared(plain: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return the facts about a run, with its files compared with those of the plain call."""
    files, expected = made.pop("files"), plain["files"]
    return {
        **made,
        "plain_seconds": plain["seconds"],
        "num_shards": len(expected),
        "lost": len(expected.keys() - files.keys()),
        "differing": sum(files[name] != expected[name] for name in expected.keys() & files.keys()),
    }


def make(
    count: int,
    steps: int,
    shard: int,
    num_workers: int = 0,
    num_nodes: int = 0,
    worker_kills: int = 0,
    node_kills: int = 0,
    minutes: float = 0.0,
    directory: str = "",
    ends_after: int = 0,
) -> dict[str, Any]:
    """Make a transfer set in this process, or with `num_workers` workers.

    Args:
        count: Number of impressions.
        steps: Steps per impression.
        shard: Impressions per shard.
        num_workers: Number of workers; 0 uses this process alone.
        num_nodes: Number of nodes with one core each; 0 for one node with all cores.
        worker_kills: Number of workers to kill, at random times within `minutes`.
        node_kills: Number of nodes to kill.
        minutes: Period of the kills, in minutes.
        directory: Directory of the transfer set. Defaults to a temporary one.
        ends_after: Number of shards after which this process kills itself.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)  # As in the workers.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED

    def note(epoch: int, _: Any) -> None:
        if epoch + 1 == ends_after:
            os._exit(9)

    cluster, killer = None, None
    if num_workers:
        killer = Killer(num_workers, num_nodes, worker_kills, node_kills, minutes)
        cluster = zskd.Cluster("auto", num_workers=num_workers)
    target = directory or tempfile.mkdtemp()
    generator = zskd.ImpressionGenerator(zskd.Teacher(SHIPPED, (0.0, 1.0)), steps=steps)
    begun = time.perf_counter()
    try:
        made = generator.generate(
            count,
            target,
            batch_size=shard,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
            verbose=0,
            cluster=cluster,
        )
        seconds = time.perf_counter() - begun
        files, listed = _hashes(target), made.num_impressions
    finally:
        deaths = killer.end() if killer else {}
        if not directory:
            shutil.rmtree(target)
    return {
        "num_workers": num_workers,
        "num_nodes": num_nodes,
        "seconds": round(seconds, 1),
        "listed_impressions": listed,
        "files": files,
        **deaths,
    }


class Killer:
    """A Ray cluster on this machine, and a thread that kills parts of it at random times.

    Args:
        num_workers: Number of workers that the cluster must have capacity for.
        num_nodes: Number of nodes with one core each; 0 for one node with a core for each worker.
        worker_kills: Number of workers to kill.
        node_kills: Number of nodes to kill.
        minutes: Period of the kills, in minutes.
    """

    def __init__(
        self, num_workers: int, num_nodes: int, worker_kills: int, node_kills: int, minutes: float
    ):
        import ray
        from ray.cluster_utils import Cluster

        self._nodes = Cluster(
            initialize_head=True,
            # Nodes are added in a thread, which cannot set signal handlers.
            shutdown_at_exit=False,
            head_node_args={"num_cpus": 1 if num_nodes else num_workers},
        )
        self._others = [self._nodes.add_node(num_cpus=1) for _ in range(num_nodes - 1)]
        ray.init(self._nodes.address, namespace="keras_zskd", log_to_driver=False)
        self._random = random.Random(0)
        whats = ["worker"] * worker_kills + ["node"] * node_kills
        moments = sorted(self._random.uniform(0, 60 * minutes) for _ in whats)
        self._random.shuffle(whats)
        self._plan = list(zip(moments, whats, strict=True))
        self._deaths = {"worker_kills": 0, "node_kills": 0}
        self._ended = threading.Event()
        self._killing = futures.ThreadPoolExecutor(max_workers=1).submit(self._kill)

    def end(self) -> dict[str, int]:
        """Stop killing, end the cluster and return the number of kills."""
        import ray

        self._ended.set()
        try:
            self._killing.result()
        finally:
            ray.shutdown()
            self._nodes.shutdown()
        return self._deaths

    def _kill(self) -> None:
        while not self._workers():  # The period begins with the first worker.
            if self._ended.wait(0.5):
                return
        begun = time.monotonic()
        for moment, what in self._plan:
            if self._ended.wait(max(0.0, begun + moment - time.monotonic())):
                return
            if what == "node":
                number = self._random.randrange(len(self._others))
                self._nodes.remove_node(self._others[number], allow_graceful=False)
                self._others[number] = self._nodes.add_node(num_cpus=1)
            else:
                while not (workers := self._workers()):
                    if self._ended.wait(0.5):
                        return
                self._random.choice(workers).kill()
            self._deaths[f"{what}_kills"] += 1

    def _workers(self) -> list[Any]:
        """The processes of all workers: starting, busy or idle."""
        import psutil

        found = []
        for process in psutil.process_iter(["cmdline"]):
            title = " ".join(process.info["cmdline"] or [])
            if title.startswith(_TITLES):
                found.append(process)
        return found


def count_shards() -> dict[str, Any]:
    """Processor time and memory of the driver for many shards of one tiny impression each."""
    import keras
    import psutil

    import keras_zskd as zskd

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    generator = zskd.ImpressionGenerator(zskd.Teacher(model, (0.0, 1.0)), steps=1)
    process, marks = psutil.Process(), []

    def note(epoch: int, _: Any) -> None:
        if epoch + 1 in (1, *_SHARDS):
            mib = process.memory_info().rss / 2**20
            marks.append((epoch + 1, time.process_time(), time.perf_counter(), mib))

    with tempfile.TemporaryDirectory() as directory:
        generator.generate(
            _SHARDS[-1],
            directory,
            batch_size=1,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
            verbose=0,
            cluster=zskd.Cluster("local", num_workers=2),
        )
    found = []
    for (before, cpu, wall, _), (after, later, later_wall, mib) in itertools.pairwise(marks):
        count = after - before
        found.append({
            "shards": after,
            "driver_ms_per_shard": round(1000 * (later - cpu) / count, 2),
            "wall_ms_per_shard": round(1000 * (later_wall - wall) / count, 2),
            "driver_mib": round(mib),
        })  # fmt: skip
    return {"num_workers": 2, "marks": found}


def _hashes(directory: str) -> dict[str, str]:
    """Return a hash of each file of records."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(directory).glob("*.tfrecord-*"))
    }


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| part | nodes | workers | impressions | shards | killed | shards lost "
        "| shards different from the plain call | seconds | plain call, one thread |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in (run for run in runs if run["part"] != "shards"):
        killed = {
            "worker": run.get("worker_kills", 0),
            "node": run.get("node_kills", 0),
            "driver": run.get("driver_kills", 0),
        }
        words = [f"{n} {what}{'s' if n > 1 else ''}" for what, n in killed.items() if n]
        lines.append(
            f"| {run['part']} | {run['num_nodes'] or 1} | {run['num_workers']} "
            f"| {run['listed_impressions']:,} | {run['num_shards']} | {', '.join(words)} "
            f"| {run['lost']} | {run['differing']} | {run['seconds']:,.0f} "
            f"| {run['plain_seconds']:,.0f} |"
        )
    for run in (run for run in runs if run["part"] == "driver"):
        lines += ["", f"Driver killed after {run['shards_before']} shards; {run['shards_made_again']} "
                  "of them were made again."]  # fmt: skip
    for run in (run for run in runs if run["part"] == "shards"):
        lines += [
            "",
            "| shards of one impression | driver, ms of processor time per shard | ms per shard | "
            "memory of the driver, MiB |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| up to {mark['shards']:,} | {mark['driver_ms_per_shard']} "
            f"| {mark['wall_ms_per_shard']} | {mark['driver_mib']} |"
            for mark in run["marks"]
        ]
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
