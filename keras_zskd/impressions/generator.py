"""`ImpressionGenerator`: targets and priors in, transfer set out."""

import contextlib
import copy
import math
import os
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_zskd.core import progress
from keras_zskd.core.errors import InputError
from keras_zskd.core.processor import has_bfloat16
from keras_zskd.impressions.canvas import BlobCanvas, Canvas
from keras_zskd.impressions.continuous_batch import ContinuousBatch
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.objectives import Objective, as_objective
from keras_zskd.impressions.priors import Prior, TotalVariation
from keras_zskd.impressions.replicas import Replicas
from keras_zskd.impressions.targets import Targets
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.inputs.shard_assembly import ShardAssembly
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter
from keras_zskd.models.graph import fingerprint
from keras_zskd.models.lowering.plan import compiles_well
from keras_zskd.models.teacher import Teacher

# Pixel values in a batch. What runs under XLA should fit the caches of the processor.
_BATCH_VALUES, _COMPILED_BATCH_VALUES = 2**20, 2**18
_SHARD_VALUES, _SHARD_SIZE = 2**22, 1000
# More would be slow to open as one data set.
_MAX_SHARDS = 25_000
_MEASURED_STEPS = 30


class ImpressionGenerator:
    """Synthesises training inputs from a teacher alone.

    Built inside `strategy.scope()` of a `tf.distribute` strategy, every replica, and every worker,
    works on impressions of its own; no argument changes, and neither do the impressions.

    Args:
        teacher: A `Teacher`, or a Keras classifier.
        targets: What the teacher should say. Defaults to `DirichletTargets()`: data impressions.
        temperature: `tau` of the synthesis, positive. Defaults to 4: what the teacher can reach
            inside the pixel range makes the better transfer set. The paper's is 20.
        priors: What the pixels should look like. Defaults to a little total variation of images.
        transforms: Applied anew at each step before the teacher looks. Defaults to `Jitter(2)`.
        canvas: What is optimised. Defaults to `BlobCanvas()`.
        steps: Adam steps per impression, at most; 1 or more.
        learning_rate: Adam's learning rate, on the variables of the canvas.
        tolerance: Gap in nat, above 0, below which an impression is done: it leaves the batch and a
            new one takes its place. Defaults to None: every impression gets all its steps. With 1.0 it
            takes a third of 30; what that costs the student is in `benchmarks/tuning.md`.
        objective: In place of `targets`, `temperature` and `tolerance`, which are short for
            `MatchTargets(targets, temperature, tolerance)`.
        precision: "float32" or "bfloat16" of the teacher's arithmetic while impressions form. By
            default bfloat16 where the processor has it and the teacher is wide enough to gain.

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
                f"steps={steps} and learning_rate={learning_rate} were received; expected at least "
                "1 step and a positive learning rate."
            )
        if precision not in ("auto", "float32", "bfloat16"):
            raise InputError(
                f"precision={precision!r} was received; expected 'auto', 'float32' or 'bfloat16'."
            )
        self.teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        is_image = len(self.teacher.input_shape) == 3
        if priors is None:
            priors = [TotalVariation()] if is_image else []
        self._replicas = Replicas(tf.distribute.get_strategy())
        is_narrow = compiles_well(self.teacher.model)
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16() and not is_narrow else "float32"
        is_alone = self._replicas.count == 1 and not tf.config.list_logical_devices("GPU")
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
        # What stock Keras callbacks expect of a model.
        self.optimizer = None
        self.stop_training = False

    @property
    def latest(self) -> dict[str, np.ndarray]:
        """The impressions worked on, for callbacks: a dict of arrays, see `PixelEngine.finish`.

        After a step what is forming in the batch, after an epoch the batch that was finished.
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
    ) -> TransferSet:
        """Synthesise impressions and stream them to disk.

        The same seed gives the same impressions whatever the batch size, the number of replicas, of
        workers, or of interruptions; the same call on the same directory goes on where the last one
        stopped. Several workers that make the same call on one directory share the work.

        Args:
            num_impressions: How many the directory should hold in the end, 1 or more.
            directory: Where the transfer set is; new, empty, or of an earlier call.
            seed: Of targets, starting noise and transforms.
            batch_size: Impressions optimised at a time, over all replicas of a worker, and how many
                a new directory holds in a shard; by default what suits the teacher.
            callbacks: Ordinary Keras callbacks. An epoch is as many finished impressions as a batch
                has, a step is a few steps of the loop; the logs of an epoch are `gap`,
                `cross_entropy`, `confidence` and `steps`; `callback.model` is this generator, with
                the pictures in `latest`.
            verbose: 0 for silence, 1 for a progress bar, 2 for a line per tenth of the impressions;
                "auto" is 1 in a terminal or a notebook, else 2.

        Returns:
            The transfer set.

        Raises:
            InputError: If a count is off, the directory holds something else or cannot be written, a
                batch does not fit the memory, or the loss became NaN; what was finished stays on
                disk. What a callback raises is raised as it is.
        """
        if num_impressions < 1:
            raise InputError(f"num_impressions={num_impressions} was received; expected 1 or more.")
        if not 0 <= seed < 2**31:
            raise InputError(f"seed={seed} was received; expected an integer in [0, 2^31).")
        size = self._batch_size(batch_size, num_impressions)
        with _writing(directory):
            writer = TransferSetWriter(
                directory,
                {**self.get_config(), "seed": seed},
                self._shard_size(num_impressions) if batch_size is None else size,
                self._replicas.worker,
                self._replicas.num_workers,
            )
            num_finished = writer.num_finished
        watchers = keras.callbacks.CallbackList(
            list(callbacks), model=self, epochs=math.ceil(num_impressions / size), verbose=0
        )
        self.stop_training = False
        bar = _Progress(num_impressions, num_finished, verbose)
        watchers.on_train_begin()
        with _at_the_end(watchers.on_train_end):  # What a callback holds open is closed.
            self._fill(writer, num_impressions, size, seed, watchers, bar)
        return TransferSet(directory)

    def measure(self, num_impressions: int, directory: str | os.PathLike[str]) -> float:
        """Seconds that `num_impressions` take on this machine, from a batch of few steps.

        Args:
            num_impressions: How many are to be made.
            directory: An empty one, which holds a batch of such impressions afterwards.
        """
        short = self  # Then what is compiled here is compiled for `generate`, too.
        if self.engine.steps > _MEASURED_STEPS:
            short = copy.copy(self)
            short.engine = copy.copy(self.engine)
            short.engine.steps = _MEASURED_STEPS
            short._batches = {}
        size = self._batch_size(None, num_impressions)
        with tempfile.TemporaryDirectory() as warm:
            short.generate(size, warm, verbose=0)  # What is compiled is compiled once.
        begun = time.perf_counter()
        short.generate(size, directory, verbose=0)
        seconds = (time.perf_counter() - begun) / size * num_impressions
        return seconds * self.engine.steps / short.engine.steps

    def _fill(
        self,
        writer: TransferSetWriter,
        num_impressions: int,
        size: int,
        seed: int,
        watchers: keras.callbacks.CallbackList,
        bar: "_Progress",
    ) -> None:
        """Batch after batch until `num_impressions` are on disk, or a callback says stop."""
        group = self._group_size()
        if size not in self._batches:  # Kept: what is compiled for a size is compiled once.
            self._batches[size] = ContinuousBatch(self.engine, self._replicas, size, group)
        batch = self._batches[size]
        assembly = ShardAssembly(writer, num_impressions, size, group)
        writing = _writing(writer.directory)  # As a decorator: good for any number of calls.
        add, close = writing(assembly.add), writing(assembly.close)
        pieces = _pieces(assembly, writer.directory)
        run = _formed(batch.run(pieces, seed), size, unit=group * self._replicas.count)
        epoch = step = 0
        with _at_the_end(close), contextlib.closing(run):
            for finished in run:
                if not step:
                    watchers.on_epoch_begin(epoch)
                if finished is None:
                    self._look = batch.look
                    watchers.on_train_batch_end(step)
                    step += 1
                    continue
                self._latest, self._look = finished, None
                if not np.isfinite(finished["gap"]).all():
                    close()
                    raise self._diverged(writer)
                add(finished)
                bar.add(finished["index"], _logs(finished))
                watchers.on_epoch_end(epoch, _logs(finished))
                epoch, step = epoch + 1, 0
                if self.stop_training:
                    break

    def _diverged(self, writer: TransferSetWriter) -> InputError:
        return InputError(
            f"The loss became NaN after {writer.num_finished} impressions, which are kept in "
            f"{writer.directory!r}; expected a finite loss, so lower the learning rate "
            f"({self.engine.learning_rate}) or the weights of the priors."
        )

    def get_config(self) -> dict[str, Any]:
        """How the impressions are made, as plain JSON types; the teacher as a fingerprint."""
        serialize = keras.saving.serialize_keras_object
        engine = self.engine
        return {
            "teacher": fingerprint(self.teacher.model),
            "input_shape": list(self.teacher.input_shape),
            "input_range": list(self.teacher.input_range),
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

    def _shard_size(self, num_impressions: int) -> int:
        unit = self._group_size()
        fitting = min(_SHARD_SIZE, _SHARD_VALUES // math.prod(self.teacher.input_shape))
        return max(1, fitting // unit, -(-num_impressions // (_MAX_SHARDS * unit))) * unit

    def _batch_size(self, batch_size: int | None, num_impressions: int) -> int:
        unit = self._group_size() * self._replicas.count
        if batch_size is None:
            values = _COMPILED_BATCH_VALUES if self.engine.compiled else _BATCH_VALUES
            fitting = min(_SHARD_SIZE, values // math.prod(self.teacher.input_shape))
            wanted = -(-num_impressions // unit) * unit
            return max(unit, min(wanted, fitting // unit * unit))
        if batch_size < 1 or batch_size % unit:
            raise InputError(
                f"batch_size={batch_size} was received; expected a positive multiple of {unit} "
                "(replicas times the group size of the priors)."
            )
        return batch_size


@contextlib.contextmanager
def _writing(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what the system says of the directory into a sentence."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            "`directory` must be a directory that can be written. Received: directory="
            f"{os.fspath(directory)!r}, of which the system says: {error}. What is finished is kept: "
            "remove the cause and make the same call again."
        ) from error


def _pieces(assembly: ShardAssembly, directory: str) -> Iterator[np.ndarray]:
    """The pieces of the assembly, which claims shards on the disk while others form."""
    with _writing(directory):
        yield from assembly.pieces()


def _formed(
    run: Generator[dict[str, np.ndarray] | None, None, None], size: int, unit: int
) -> Generator[dict[str, np.ndarray] | None, None, None]:
    """What `run` yields; only here is running out of memory the fault of the batch."""
    try:
        yield from run
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        if size <= unit:  # There is no smaller batch.
            raise
        raise InputError(
            f"`batch_size` must be small enough for the memory. Received: batch_size={size}, for "
            f"which it ran out. Pass a smaller multiple of {unit}: what is finished is kept, and the "
            "impressions do not depend on `batch_size`."
        ) from error


@contextlib.contextmanager
def _at_the_end(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` at the end, whatever happens; its errors never replace an earlier one."""
    try:
        yield
    except BaseException:
        try:
            close()
        except Exception as later:
            logging.error("%s", later)
        raise
    close()


def _logs(batch: dict[str, np.ndarray]) -> dict[str, float]:
    names = ("gap", "cross_entropy", "confidence", "steps")
    return {name: float(batch[name].mean()) for name in names}


class _Progress:
    """Keras' own progress bar, or a line per tenth, counting impressions."""

    def __init__(self, total: int, done: int, verbose: int | str):
        self._verbose = progress.resolved(verbose)
        self._first = self._done = done
        self._begun = time.perf_counter()
        names = ("gap", "cross_entropy", "confidence", "steps", "per_second")
        self._bar = keras.utils.Progbar(
            total, verbose=self._verbose, stateful_metrics=names, unit_name="impression"
        )

    def add(self, indices: np.ndarray, logs: dict[str, float]) -> None:
        """Count finished impressions; those beyond the total only fill up a group."""
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
