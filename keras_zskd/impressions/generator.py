"""`ImpressionGenerator`: makes a transfer set from targets and priors."""

import contextlib
import copy
import math
import os
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import progress
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.input_range import as_json
from keras_zskd.core.processor import has_bfloat16, has_gpu
from keras_zskd.core.workers import Cluster
from keras_zskd.impressions.canvas import BlobCanvas, Canvas
from keras_zskd.impressions.continuous_batch import ContinuousBatch
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.objectives import Objective, as_objective
from keras_zskd.impressions.priors import Prior, TotalVariation
from keras_zskd.impressions.replicas import Replicas
from keras_zskd.impressions.shard_maker import (
    ShardMaker,
    ShardWorker,
    at_the_end,
    mean_logs,
    writing,
)
from keras_zskd.impressions.targets import Targets
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.inputs.shards import Shard
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter
from keras_zskd.models.graph import fingerprint
from keras_zskd.models.lowering.plan import compiles_well
from keras_zskd.models.teacher import Teacher, restored_teacher

# Pixel values per batch. With XLA, a batch should fit into the caches of the processor.
_BATCH_VALUES, _COMPILED_BATCH_VALUES = 2**20, 2**18
_SHARD_VALUES, _SHARD_SIZE = 2**22, 1000
# More shards would be slow to open as one dataset.
_MAX_SHARDS = 25_000
_MEASURED_STEPS = 30
# Indices, mean logs and values of finished impressions.
_Made = tuple[np.ndarray, dict[str, Any], dict[str, Any]]
_OF_ENGINE = (
    *("objective", "priors", "transforms", "canvas"),
    *("steps", "learning_rate", "precision"),
)


class ImpressionGenerator:
    """Synthesizes training inputs from a teacher, without data.

    If it is built inside `strategy.scope()` of a `tf.distribute` strategy, every replica makes
    different impressions. The arguments and the resulting impressions stay the same.

    Args:
        teacher: A `Teacher` or a Keras classifier.
        targets: Soft labels that the teacher should predict. Defaults to `DirichletTargets()`: data
            impressions.
        temperature: `tau` of the synthesis, positive. Defaults to 4: targets that are reachable
            within the pixel range give a better transfer set. The paper uses 20.
        priors: Penalties on the pixels. Defaults to a small total variation penalty for images.
        transforms: Random transforms, applied at each step before the teacher. Defaults to
            `Jitter(2)`.
        canvas: Initial values and parameterization of the pixels. Defaults to `BlobCanvas()`.
        steps: Largest number of Adam steps per impression, 1 or more.
        learning_rate: Learning rate of Adam on the variables of the canvas, positive.
        tolerance: Gap in nats, positive, below which an impression is done: a new one takes its
            slot in the batch. Defaults to None: every impression gets all its steps. With 1.0, an
            impression takes a third of the 30 steps; see `benchmarks/tuning.md` for the cost in
            accuracy of the student.
        objective: Replaces `targets`, `temperature` and `tolerance`, which are a shorthand for
            `MatchTargets(targets, temperature, tolerance)`.
        precision: "float32" or "bfloat16", the precision of the teacher during synthesis. Defaults
            to "auto": bfloat16 if the processor supports it and the teacher is wide enough to
            benefit.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
        ...                           keras.layers.Dense(3)])
        >>> generator = ImpressionGenerator(Teacher(model, (0, 1)), steps=2)
        >>> impressions = generator.generate(6, directory, verbose=0)
        >>> impressions.num_impressions
        6
    """

    def __init__(
        self,
        teacher: Teacher | keras.Model,
        targets: Targets | None = None,
        temperature: float | None = None,
        priors: Sequence[Prior] | None = None,
        transforms: Sequence[Transform] | None = None,
        canvas: Canvas | None = None,
        steps: int = 30,
        learning_rate: float = 0.4,
        tolerance: float | None = None,
        precision: str = "auto",
        objective: Objective | None = None,
    ):
        if steps < 1 or not learning_rate > 0:
            raise InputError(
                "`steps` must be 1 or more and `learning_rate` must be positive. "
                f"Received: steps={steps}, learning_rate={learning_rate}."
            )
        if precision not in ("auto", "float32", "bfloat16"):
            raise invalid("precision", "be 'auto', 'float32' or 'bfloat16'", precision)
        self.teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        is_image = len(self.teacher.input_shape) == 3
        if priors is None:
            priors = [TotalVariation()] if is_image else []
        self._replicas = Replicas(tf.distribute.get_strategy())
        is_narrow = compiles_well(self.teacher.model)
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16() and not is_narrow else "float32"
        is_alone = self._replicas.count == 1 and not has_gpu()
        self.engine = PixelEngine(
            self.teacher,
            objective=as_objective(objective, targets, temperature, tolerance),
            priors=tuple(priors),
            transforms=tuple([Jitter()] if transforms is None else transforms),
            canvas=canvas or BlobCanvas(),
            steps=int(steps),
            learning_rate=float(learning_rate),
            precision=precision,
            compiled=is_narrow and is_alone and precision == "float32",
        )
        self._batches: dict[int, ContinuousBatch] = {}
        self._latest: dict[str, np.ndarray] = {}
        self._look: Callable[[], dict[str, np.ndarray]] | None = None
        # Attributes that the callbacks of Keras expect of a model.
        self.optimizer = None
        self.stop_training = False

    @property
    def latest(self) -> dict[str, np.ndarray]:
        """The current impressions, for callbacks: a dict of arrays, see `PixelEngine.finish`.

        After a step, these are the unfinished impressions of the batch; after an epoch, the batch
        that was just finished.
        """
        if self._look is not None:
            self._latest, self._look = self._look(), None
        return self._latest

    def generate(
        self,
        num_impressions: int,
        directory: str | os.PathLike[str],
        seed: int = 0,
        batch_size: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = "auto",
        cluster: Cluster | None = None,
    ) -> TransferSet:
        """Synthesize impressions and write them to disk.

        The same call on the same directory continues where the last one stopped. With the same seed,
        batch size, precision, number of threads and kind of device, the impressions are identical
        bit for bit, regardless of interruptions and of the number of workers. Otherwise they are
        equal up to rounding errors, which many steps can amplify.

        Args:
            num_impressions: Total number of impressions in the directory at the end, 1 or more.
            directory: Directory of the transfer set: new, empty, or from an earlier call. A local
                path, or one that `tf.io.gfile` supports, such as `gs://bucket/impressions`.
            seed: Seed of targets, initial noise and transforms, an integer in [0, 2^31).
            batch_size: Number of impressions optimized at a time, over all replicas, and number per
                shard in a new directory. Defaults to a size that fits the teacher.
            callbacks: Keras callbacks. An epoch is one batch of finished impressions, a step is a
                round of a few steps of the pixel loop. The logs of an epoch are `gap`,
                `cross_entropy`, `confidence` and `steps`. `callback.model` is this generator, with
                the images in `latest`.
            verbose: 0 for no output, 1 for a progress bar, 2 for a line per tenth of the
                impressions. "auto" is 1 in a terminal or a notebook, else 2.
            cluster: Workers on a Ray cluster that make the shards; see `Cluster`. They read and
                write `directory`. An epoch is then one shard, there are no steps, and `latest`
                holds its first impressions. Defaults to None: this process makes the shards.

        Returns:
            The transfer set.

        Raises:
            InputError: If an argument is out of range, the directory holds other files or cannot be
                written, a batch does not fit into memory, or the loss becomes NaN. Finished
                impressions stay on disk. Exceptions of callbacks are raised unchanged.
        """
        if num_impressions < 1:
            raise invalid("num_impressions", "be 1 or more", num_impressions)
        if not 0 <= seed < 2**31:
            raise invalid("seed", "be an integer in [0, 2^31)", seed)
        size = self._batch_size(batch_size, num_impressions)
        if cluster is not None and self._replicas.count > 1:
            raise invalid(
                "cluster",
                "be None under a strategy with several replicas",
                cluster,
                fix="Set `gpus_per_worker`: each device is a worker.",
            )
        shard_size = self._shard_size(num_impressions, size) if batch_size is None else size
        with writing(directory):
            metadata = {**self.get_config(), "seed": seed}
            writer = TransferSetWriter(directory, metadata, shard_size)
            shards = writer.unfinished(num_impressions)
        watchers = keras.callbacks.CallbackList(
            list(callbacks), model=self, epochs=math.ceil(num_impressions / size), verbose=0
        )
        self.stop_training = False
        bar = _Progress(num_impressions, writer.num_finished, verbose)
        maker = self.maker(writer.directory, size, seed)
        watchers.on_train_begin()
        # In all cases, callbacks can close their files, and finished impressions are listed.
        with at_the_end(watchers.on_train_end), at_the_end(writing(directory)(writer.publish)):
            if cluster is None or not shards:
                made = self._made_here(writer, maker, shards, watchers)
            else:
                job = (self, writer.directory, size, seed, bool(watchers.callbacks))
                made = self._made_on(cluster, writer, job, shards, watchers)
            # Runs until all impressions are on disk or a callback stops the synthesis.
            with contextlib.closing(made):
                for epoch, (indices, logs, shown) in enumerate(made):
                    self._latest, self._look = shown, None
                    bar.add(indices, logs)
                    watchers.on_epoch_end(epoch, logs)
                    if self.stop_training:
                        break
        return TransferSet(directory)

    def shortened(self, steps: int) -> "ImpressionGenerator":
        """Return this generator with at most `steps` steps per impression."""
        if self.engine.steps <= steps:
            return self  # So that `generate` can reuse what is compiled.
        short = copy.copy(self)
        short.engine = copy.copy(self.engine)
        short.engine.steps = steps
        short._batches = {}
        return short

    def measure(
        self, num_impressions: int, directory: str | os.PathLike[str]
    ) -> tuple[float, float]:
        """Estimate the time for `num_impressions` on this machine from one batch with few steps.

        Args:
            num_impressions: Number of impressions to estimate for.
            directory: An empty directory, which holds the measured batch afterwards.

        Returns:
            Seconds to compile, and seconds for the impressions once everything is compiled.
        """
        short = self.shortened(_MEASURED_STEPS)
        size = self._batch_size(None, num_impressions)
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as warm:
            short.generate(size, warm, verbose=0)  # Compiles everything.
        compiled = time.perf_counter()
        short.generate(size, directory, verbose=0)
        of_batch = time.perf_counter() - compiled
        seconds = of_batch / size * num_impressions * self.engine.steps / short.engine.steps
        return max(0.0, compiled - begun - of_batch), seconds

    def maker(self, directory: str, size: int, seed: int) -> ShardMaker:
        """Return the `ShardMaker` of a directory, with batches of `size` impressions."""
        group = self._group_size()
        if size not in self._batches:  # Kept, so that each size is compiled once.
            self._batches[size] = ContinuousBatch(self.engine, self._replicas, size, group)
        return ShardMaker(self._batches[size], group, directory, seed, group * self._replicas.count)

    def _made_here(
        self,
        writer: TransferSetWriter,
        maker: ShardMaker,
        shards: Sequence[Shard],
        watchers: keras.callbacks.CallbackList,
    ) -> Generator[_Made, None, None]:
        """Make shards in this process."""
        epoch = step = 0
        with contextlib.closing(maker.run(shards, writer.finish)) as run:
            for finished in run:
                if not step:
                    watchers.on_epoch_begin(epoch)
                if finished is None:
                    self._look = maker.batch.look
                    watchers.on_train_batch_end(step)
                    step += 1
                    continue
                yield finished["index"], mean_logs([finished]), finished
                epoch, step = epoch + 1, 0

    def _made_on(
        self,
        cluster: Cluster,
        writer: TransferSetWriter,
        job: tuple[Any, ...],
        shards: Sequence[Shard],
        watchers: keras.callbacks.CallbackList,
    ) -> Generator[_Made, None, None]:
        """Make shards on a cluster; `job` holds the arguments of its `ShardWorker`s."""
        made = cluster.map(
            ShardWorker, job, shards, lambda shard: f"shard {shard.number} of {writer.directory}"
        )
        with contextlib.closing(made):
            for epoch, (shard, (logs, shown)) in enumerate(made):
                writer.finish(shard)
                watchers.on_epoch_begin(epoch)
                yield np.arange(shard.start, shard.stop), logs, shown

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments for the workers of a cluster, each of which compiles the engine."""
        engine = self.engine
        given = {name: getattr(engine, name) for name in _OF_ENGINE}
        teacher = self.teacher
        return _unpickled, (teacher.model, teacher.input_range, teacher.is_multi_label, given)

    def get_config(self) -> dict[str, Any]:
        """Return the settings of the synthesis as JSON types; the teacher as a fingerprint."""
        serialize = keras.saving.serialize_keras_object
        engine = self.engine
        return {
            "teacher": fingerprint(self.teacher.model),
            "input_shape": list(self.teacher.input_shape),
            "input_range": as_json(self.teacher.input_range),
            "num_classes": self.teacher.num_classes,
            "objective": serialize(engine.objective),
            "priors": [serialize(prior) for prior in engine.priors],
            "transforms": [serialize(transform) for transform in engine.transforms],
            "canvas": serialize(engine.canvas),
            "steps": engine.steps,
            "learning_rate": engine.learning_rate,
            "precision": engine.precision,
        }

    def _group_size(self) -> int:
        return math.lcm(1, *(prior.group_size for prior in self.engine.priors))

    def _shard_size(self, num_impressions: int, batch_size: int) -> int:
        """A multiple of the batch size, since a shard is finished before the next one begins."""
        fitting = min(_SHARD_SIZE, _SHARD_VALUES // math.prod(self.teacher.input_shape))
        least = -(-num_impressions // (_MAX_SHARDS * batch_size))
        return max(1, fitting // batch_size, least) * batch_size

    def _batch_size(self, batch_size: int | None, num_impressions: int) -> int:
        unit = self._group_size() * self._replicas.count
        if batch_size is None:
            values = _COMPILED_BATCH_VALUES if self.engine.compiled else _BATCH_VALUES
            fitting = min(_SHARD_SIZE, values // math.prod(self.teacher.input_shape))
            wanted = -(-num_impressions // unit) * unit
            return max(unit, min(wanted, fitting // unit * unit))
        if batch_size < 1 or batch_size % unit:
            raise invalid(
                "batch_size",
                f"be a positive multiple of {unit} (replicas times the group size of the priors)",
                batch_size,
            )
        return batch_size


def _unpickled(
    model: keras.Model,
    input_range: tuple[float, float],
    is_multi_label: bool,
    given: dict[str, Any],
) -> ImpressionGenerator:
    return ImpressionGenerator(restored_teacher(model, input_range, is_multi_label), **given)


class _Progress:
    """The Keras progress bar, or a line per tenth, counting impressions."""

    def __init__(self, total: int, done: int, verbose: int | str):
        self._verbose = progress.resolved(verbose)
        self._first = self._done = done
        self._begun = time.perf_counter()
        names = ("gap", "cross_entropy", "confidence", "steps", "per_second")
        self._bar = keras.utils.Progbar(
            total, verbose=self._verbose, stateful_metrics=names, unit_name="impression"
        )

    def add(self, indices: np.ndarray, logs: dict[str, float]) -> None:
        """Count finished impressions; those beyond the total only complete a group."""
        before = min(self._done, self._bar.target)
        self._done += int(np.sum(indices < self._bar.target))
        done = min(self._done, self._bar.target)
        seconds = time.perf_counter() - self._begun
        rate = (done - self._first) / max(seconds, 1e-9)
        values = {**logs, "per_second": rate}
        if self._verbose != 2:
            self._bar.update(done, [*values.items()], finalize=done >= self._bar.target)
        elif 10 * done // self._bar.target > 10 * before // self._bar.target:
            progress.show(f"impression {done}/{self._bar.target}", seconds, values)
