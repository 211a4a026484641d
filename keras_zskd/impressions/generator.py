"""`ImpressionGenerator`: targets and priors in, transfer set out."""

import hashlib
import json
import math
import os
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.errors import InputError
from keras_zskd.impressions.canvas import BlobCanvas, Canvas
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.priors import BatchNormStatistics, Prior, TotalVariation
from keras_zskd.impressions.targets import DirichletTargets, Targets
from keras_zskd.impressions.transfer_set import TransferSet, TransferSetWriter
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.teacher import Teacher

_PIXELS_PER_BATCH = 2**20
_CHECKPOINTS = 4


class ImpressionGenerator:
    """Synthesises training inputs from a teacher alone.

    Built inside `strategy.scope()` of a `tf.distribute.MirroredStrategy`, every replica works on
    impressions of its own; no argument changes, and neither do the impressions.

    Args:
        teacher: A `Teacher`, or a Keras classifier.
        targets: What the teacher should say. Defaults to `DirichletTargets()`: data impressions.
        temperature: `tau` of the synthesis, positive. Defaults to 4: what the teacher can reach
            inside the pixel range makes the better transfer set. The paper's is 20.
        priors: What the pixels should look like. Defaults to a little total variation, and to
            batch-norm statistics where the teacher has any.
        transforms: Applied anew at each step before the teacher looks. Defaults to `Jitter(2)`.
        canvas: What is optimised. Defaults to `BlobCanvas()`.
        steps: Adam steps per impression, 1 or more.
        learning_rate: Adam's learning rate, on the variables of the canvas.

    Attributes:
        latest: The batch worked on: a dict of arrays, see `PixelEngine.finish`. For callbacks.

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
        temperature: float = 4.0,
        priors: Sequence[Prior] | None = None,
        transforms: Sequence[Transform] | None = None,
        canvas: Canvas | None = None,
        steps: int = 30,
        learning_rate: float = 0.4,
    ):
        if not temperature > 0:
            raise InputError(f"temperature={temperature} was received; expected a positive number.")
        if steps < 1 or not learning_rate > 0:
            raise InputError(
                f"steps={steps} and learning_rate={learning_rate} were received; expected at least "
                "1 step and a positive learning rate."
            )
        self.teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        is_image = len(self.teacher.input_shape) == 3
        if priors is None:
            priors = [TotalVariation()] if is_image else []
            priors += [BatchNormStatistics()] if self.teacher.batch_norms else []
        self.engine = PixelEngine(
            self.teacher,
            targets=targets or DirichletTargets(),
            temperature=float(temperature),
            priors=tuple(priors),
            transforms=tuple([Jitter()] if transforms is None else transforms),
            canvas=canvas or BlobCanvas(),
            steps=int(steps),
            learning_rate=float(learning_rate),
        )
        self.engine.targets.prepare(self.teacher)  # Refuses early what the teacher cannot give.
        self.latest: dict[str, np.ndarray] = {}
        # What stock Keras callbacks expect of a model.
        self.optimizer = None
        self.stop_training = False
        self._strategy = tf.distribute.get_strategy()

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

        The same seed gives the same impressions whatever the batch size, the number of replicas, or
        interruptions; the same call on the same directory goes on where the last one stopped.

        Args:
            num_impressions: How many the directory should hold in the end, 1 or more.
            directory: Where the transfer set is; new, empty, or of an earlier call.
            seed: Of targets, starting noise and transforms.
            batch_size: Impressions optimised at a time, over all replicas; by default what fits
                about a million pixel values.
            callbacks: Ordinary Keras callbacks. An epoch is a batch of impressions, a step is one of
                a few checkpoints on the way; logs are `gap`, `cross_entropy` and `confidence`;
                `callback.model` is this generator, with the pictures in `latest`.
            verbose: 0 for silence, 1 or "auto" for a progress bar, 2 for a line per batch.

        Returns:
            The transfer set.

        Raises:
            InputError: If a count is off, the directory holds something else, the disk is full, or
                the loss became NaN; what was finished stays on disk.
        """
        if num_impressions < 1:
            raise InputError(f"num_impressions={num_impressions} was received; expected 1 or more.")
        if not 0 <= seed < 2**31:
            raise InputError(f"seed={seed} was received; expected an integer in [0, 2^31).")
        batch_size = self._batch_size(batch_size, num_impressions)
        writer = TransferSetWriter(directory, {**self.get_config(), "seed": seed})
        bar = _Progress(num_impressions, writer.num_finished, verbose)
        watchers = keras.callbacks.CallbackList(
            list(callbacks), model=self, epochs=math.ceil(num_impressions / batch_size), verbose=0
        )
        self.stop_training = False
        watchers.on_train_begin()
        try:
            self._fill(writer, num_impressions, batch_size, seed, watchers, bar)
        finally:  # What a callback holds open is closed, whatever happened.
            watchers.on_train_end()
        return TransferSet(directory)

    def _fill(
        self,
        writer: TransferSetWriter,
        num_impressions: int,
        batch_size: int,
        seed: int,
        watchers: keras.callbacks.CallbackList,
        bar: "_Progress",
    ) -> None:
        """Batch after batch until `num_impressions` are on disk, or a callback says stop."""
        group = self._group_size()
        number = 0
        while writer.num_finished < num_impressions and not self.stop_training:
            watchers.on_epoch_begin(number)
            # Groups are of consecutive impressions, so a batch starts where a group starts.
            start = writer.num_finished // group * group
            skip = writer.num_finished - start
            count = min(batch_size - skip, num_impressions - writer.num_finished)
            watched = bool(watchers.callbacks)
            for checkpoint, batch in enumerate(self._batch(start, batch_size, seed, watched)):
                self.latest = batch
                watchers.on_train_batch_end(checkpoint, _logs(batch))
            kept = {name: value[skip : skip + count] for name, value in self.latest.items()}
            self._check(kept, writer)
            self.latest = kept
            self._write(writer, kept)
            bar.show(writer.num_finished, _logs(kept))
            watchers.on_epoch_end(number, _logs(kept))
            number += 1

    def get_config(self) -> dict[str, Any]:
        """How the impressions are made, as plain JSON types; the teacher as a fingerprint."""
        serialize = keras.saving.serialize_keras_object
        engine = self.engine
        return {
            "teacher": fingerprint(self.teacher),
            "input_shape": list(self.teacher.input_shape),
            "input_range": list(self.teacher.input_range),
            "num_classes": self.teacher.num_classes,
            "targets": serialize(engine.targets),
            "temperature": engine.temperature,
            "priors": [serialize(prior) for prior in engine.priors],
            "transforms": [serialize(transform) for transform in engine.transforms],
            "canvas": serialize(engine.canvas),
            "steps": engine.steps,
            "learning_rate": engine.learning_rate,
        }

    def _batch(self, start: int, batch_size: int, seed: int, watched: bool) -> Any:
        """Yield the batch from `start` on as it forms; finished at the last."""
        replicas = self._strategy.num_replicas_in_sync
        share = batch_size // replicas
        indices = self._strategy.experimental_distribute_values_from_function(
            lambda context: (
                tf.range(share, dtype=tf.int32) + start + share * context.replica_id_in_sync_group
            )
        )
        seed = tf.constant(seed, tf.int32)
        state = self._start(indices, seed)
        checkpoints = min(_CHECKPOINTS if watched else 1, self.engine.steps)
        for number in range(checkpoints):
            steps = self.engine.steps * (number + 1) // checkpoints
            steps -= self.engine.steps * number // checkpoints
            state = self._advance(state, seed, tf.constant(steps, tf.int32))
            yield self._collect(self._finish(state))

    @tf.function(reduce_retracing=True)
    def _start(self, indices: Any, seed: Any) -> Any:
        return self._strategy.run(self.engine.start, args=(seed, indices))

    @tf.function(reduce_retracing=True)
    def _advance(self, state: Any, seed: Any, steps: Any) -> Any:
        return self._strategy.run(self.engine.advance, args=(state, seed, steps))

    @tf.function(reduce_retracing=True)
    def _finish(self, state: Any) -> Any:
        return self._strategy.run(self.engine.finish, args=(state,))

    def _collect(self, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        local = self._strategy.experimental_local_results
        return {
            name: np.concatenate([part.numpy() for part in local(value)])
            for name, value in batch.items()
        }

    def _group_size(self) -> int:
        return math.lcm(1, *(prior.group_size for prior in self.engine.priors))

    def _batch_size(self, batch_size: int | None, num_impressions: int) -> int:
        unit = self._group_size() * self._strategy.num_replicas_in_sync
        if batch_size is None:
            fitting = min(1000, _PIXELS_PER_BATCH // math.prod(self.teacher.input_shape))
            wanted = -(-num_impressions // unit) * unit
            return max(unit, min(wanted, fitting // unit * unit))
        if batch_size < 1 or batch_size % unit:
            raise InputError(
                f"batch_size={batch_size} was received; expected a positive multiple of {unit} "
                "(replicas times the group size of the priors)."
            )
        return batch_size

    def _check(self, batch: dict[str, np.ndarray], writer: TransferSetWriter) -> None:
        if not (np.all(np.isfinite(batch["gap"])) and np.all(np.isfinite(batch["image"]))):
            raise InputError(
                f"The loss became NaN after {writer.num_finished} impressions, which are kept in "
                f"{writer.directory!r}; expected a finite loss, so lower the learning rate "
                f"({self.engine.learning_rate}) or the weights of the priors."
            )

    def _write(self, writer: TransferSetWriter, batch: dict[str, np.ndarray]) -> None:
        try:
            writer.write(batch)
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"Impressions could not be written to {writer.directory!r} ({error}); expected room "
                f"on the disk. The first {writer.num_finished} are kept: free some space and run "
                "the same command again."
            ) from error


def fingerprint(teacher: Teacher) -> str:
    """A short hash of the teacher's layers and weights: another teacher has other impressions."""
    digest = hashlib.sha256()
    for layer in teacher.model.layers:
        config = {key: value for key, value in layer.get_config().items() if key != "name"}
        line = json.dumps([type(layer).__name__, config], sort_keys=True, default=str)
        digest.update(line.encode())
    for value in teacher.model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def _logs(batch: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(batch[name].mean()) for name in ("gap", "cross_entropy", "confidence")}


class _Progress:
    """Keras' own progress bar, counting impressions."""

    def __init__(self, total: int, done: int, verbose: int | str):
        self._verbose = 1 if verbose == "auto" else int(verbose)
        self._first, self._begun = done, time.perf_counter()
        names = ("gap", "cross_entropy", "confidence", "per_second")
        self._bar = keras.utils.Progbar(
            total, verbose=self._verbose, stateful_metrics=names, unit_name="impression"
        )

    def show(self, done: int, logs: dict[str, float]) -> None:
        rate = (done - self._first) / max(time.perf_counter() - self._begun, 1e-9)
        self._bar.update(
            done, [*logs.items(), ("per_second", rate)], finalize=done >= self._bar.target
        )
