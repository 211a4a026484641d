"""`Cluster`: workers of a Ray cluster. Ray is imported where one is used, and nowhere else."""

import collections
import contextlib
import dataclasses
import os
import pickle
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import tensorflow as tf
from absl import logging

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.own_modules import import_modules, imported_modules

_Task = TypeVar("_Task")
# If this many workers die during the same task, the task must be the cause.
_MOST_DEATHS = 20


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Workers on a Ray cluster, for the long jobs: `pip install keras-zskd[ray]`.

    Each worker is a Ray actor. If a worker or its node dies, another worker repeats the task.

    Args:
        address: "auto" for the cluster that this machine belongs to, "local" for a new one on this
            machine alone, or an address such as "10.0.0.1:6379" or "ray://10.0.0.1:10001".
        num_workers: Number of workers, 1 or more. Defaults to as many as fit on the cluster.
            Workers that do not fit yet start as soon as there is space.
        gpus_per_worker: GPUs of each worker, 0 or more; a fraction such as 0.5 lets two share one.
        cpus_per_worker: Processor cores of each worker, and its number of TensorFlow threads, 1 or
            more.

    Raises:
        InputError: If an argument is out of range.
    """

    address: str = "auto"
    num_workers: int | None = None
    gpus_per_worker: float = 0.0
    cpus_per_worker: int = 1

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise invalid("num_workers", "be 1 or more", self.num_workers)
        if not self.gpus_per_worker >= 0:
            raise invalid("gpus_per_worker", "be 0 or more", self.gpus_per_worker)
        if self.cpus_per_worker < 1:
            raise invalid("cpus_per_worker", "be 1 or more", self.cpus_per_worker)

    def map(
        self,
        create: Callable[..., Callable[[_Task], Any]],
        arguments: tuple[Any, ...],
        tasks: Sequence[_Task],
        name: Callable[[_Task], str],
    ) -> Generator[tuple[_Task, Any], None, None]:
        """Run tasks on the workers; a task whose worker dies is run again.

        Args:
            create: Called once in each worker; returns the function that runs a task.
            arguments: Arguments of `create`.
            tasks: Hashable tasks.
            name: Function from a task to its name in the Ray dashboard.

        Yields:
            Each task with its result, in order of completion.

        Raises:
            InputError: If Ray is not installed, or there is no cluster that a worker fits on.
            RuntimeError: If a task kills its workers again and again. Any exception that `create` or
                a task raises is raised unchanged.
        """
        ray = _import_ray()
        with _connected(ray, self, len(tasks)) as count:
            actor = ray.remote(num_cpus=self.cpus_per_worker, num_gpus=self.gpus_per_worker)(_Actor)
            job = ray.cloudpickle.dumps((create, arguments))
            given = ray.put((self.cpus_per_worker, imported_modules(), job))
            waiting = collections.deque(tasks)
            idle: list[Any] = []
            deaths: collections.Counter[_Task | None] = collections.Counter()
            # The task of each worker, by the reference to its result; None while it starts.
            running: dict[Any, tuple[Any, _Task | None]] = {}
            left = len(tasks)

            def hire() -> None:
                worker = actor.remote()
                running[worker.begin.options(name="begin").remote(given)] = (worker, None)

            for _ in range(count):
                hire()
            while left:
                while waiting and idle:
                    worker, task = idle.pop(), waiting.popleft()
                    running[worker.do.options(name=name(task)).remote(task)] = (worker, task)
                (reference,), _ = ray.wait(list(running))
                worker, done = running.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:  # The worker or its node died.
                    logging.warning("a worker died: %s", error)
                    deaths[done] += 1
                    if deaths[done] >= _MOST_DEATHS:
                        raise RuntimeError(
                            f"{_MOST_DEATHS} workers died during "
                            f"{'their start' if done is None else name(done)}. Last: {error}"
                        ) from error
                    if done is not None:
                        waiting.appendleft(done)
                    hire()
                    continue
                idle.append(worker)
                if done is None:
                    deaths[None] = 0
                else:
                    left -= 1
                    yield done, result


class _Actor:
    """A worker: a process with its own TensorFlow threads, and the function that runs a task."""

    def begin(self, given: tuple[int, list[str], bytes]) -> None:
        """Create the function. In `__init__`, Ray would report an exception as a dead worker."""
        threads, modules, job = given
        # Before the job is unpickled: loading its models runs TensorFlow and fixes these numbers.
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        import_modules(modules)
        create, arguments = pickle.loads(job)
        self._do = create(*arguments)

    def do(self, task: Any) -> Any:
        """Run a task."""
        return self._do(task)


def refuse_several_machines(strategy: tf.distribute.Strategy) -> None:
    """Raise an error for strategies over several machines, under which `fit` of Keras 3.15 fails.

    Raises:
        InputError: If the strategy is one of these.
    """
    kinds = (tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.ParameterServerStrategy)
    if isinstance(strategy, kinds):
        raise InputError(
            "`strategy` must be of one machine, since Keras cannot train over several as with "
            f"MultiWorkerMirroredStrategy. Received: {type(strategy).__name__}. Train under "
            "MirroredStrategy on one machine, and use cluster= for synthesis."
        )


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "`cluster` must be None where Ray is not installed. Received: a cluster. Install it with "
            "pip install 'keras-zskd[ray]'."
        ) from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any, cluster: Cluster, num_tasks: int) -> Iterator[int]:
    """Connect to the cluster, unless already connected, and yield the number of workers."""
    is_ours = not ray.is_initialized()
    if is_ours:
        options = {"log_to_driver": False, "logging_level": "error"}
        try:
            if cluster.address == "local":
                cpus = (cluster.num_workers or 1) * cluster.cpus_per_worker
                ray.init("local", num_cpus=max(cpus, _num_cores()), **options)
            else:
                ray.init(cluster.address, namespace="keras_zskd", **options)
        except ConnectionError as error:
            raise invalid(
                "cluster",
                "be the address of a running Ray cluster",
                cluster.address,
                fix="Start one with `ray start`, or use 'local' for this machine.",
            ) from error
    try:
        yield min(num_tasks, cluster.num_workers or _capacity(ray.cluster_resources(), cluster))
    finally:
        if is_ours:
            ray.shutdown()  # Also ends the workers.


def _capacity(resources: dict[str, float], cluster: Cluster) -> int:
    """Return how many workers fit into the resources of a cluster."""
    count = resources.get("CPU", 0) // cluster.cpus_per_worker
    if cluster.gpus_per_worker:
        count = min(count, resources.get("GPU", 0) // cluster.gpus_per_worker)
    if not count:
        raise InputError(
            "`cluster` must be large enough for a worker. Received: a cluster of "
            f"{resources.get('CPU', 0):g} cores and {resources.get('GPU', 0):g} GPUs, and workers of "
            f"{cluster.cpus_per_worker} and {cluster.gpus_per_worker:g}. If machines are added on "
            "demand, set `num_workers`."
        )
    return int(count)


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
