"""`Run`: what a method can do that takes time, and that goes on after an interruption."""

import fcntl
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import IO, Any, Self

import keras
import numpy as np
import tensorflow as tf

from keras_zskd import models
from keras_zskd.core import progress
from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.callbacks.synthesis_callbacks import for_synthesis
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.source import Source
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.graph import clone_layer, fingerprint
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs import backup
from keras_zskd.runs.record import RunRecord
from keras_zskd.runs.resources import Resources


class Run:
    """One training of one student by one method, in a directory.

    A method's `train` is called again from its first line after every interruption. Only
    `synthesize`, `fit` and `keep` take time. Each is recorded under its name; a finished one returns
    at once what it returned before. Everything else in `train` must depend on its arguments alone.

    A context manager: while it is open, the directory belongs to this process.

    Args:
        teacher: The teacher.
        student: A width in (0, 1] for `slim`, or a Keras classifier, of which a copy is trained.
        method: Name and arguments of the method, as plain JSON types.
        directory: New, empty, or of the same run.
        seed: Of everything random.
        resources: What the user has besides the teacher.
        callbacks: For every training.
        verbose: 0 for silence, 1 for progress bars, 2 for a line per epoch and per tenth of the
            impressions; "auto" is 1 in a terminal or a notebook, else 2.

    Raises:
        InputError: If the directory is of another run, or another process works in it.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: float | keras.Model,
        method: Mapping[str, Any],
        directory: str | os.PathLike[str],
        seed: int = 0,
        resources: Resources | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        verbose: int | str = "auto",
    ):
        self.teacher, self.seed = teacher, seed
        self.resources = resources or Resources()
        self.directory = pathlib.Path(directory)
        self._begun = time.monotonic()
        self._student, self._callbacks, self._verbose = student, tuple(callbacks), verbose
        self._lock: IO[str] | None = None
        first = self.new_student()
        self.record = RunRecord(
            directory,
            {
                "method": method,
                "seed": seed,
                "teacher": teacher.describe(),
                "teacher_fingerprint": fingerprint(teacher.model),
                "student": {"parameters": first.count_params()},
                "student_fingerprint": fingerprint(first),
                "training_dataset": self.resources.training_name,
            },
        )

    def __enter__(self) -> Self:
        self._lock = open(self.directory / ".lock", "w", encoding="utf-8")
        try:
            # Released by the operating system when its owner dies, however it dies.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise InputError(
                f"The directory of a run must belong to one process. Received: "
                f"{os.fspath(self.directory)!r}, in which another one works. Wait for it, or choose "
                "another output directory."
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def new_student(self, weights: str = "random") -> keras.Model:
        """An untrained student, the same at every call; the caller's model is not changed.

        Args:
            weights: "random": those that the layers draw, or those of the caller's model. "teacher":
                the teacher's, folded to the student's widths, see `start_from`.

        Raises:
            InputError: If `weights` is neither, or the teacher's do not fit the caller's model.
        """
        keras.utils.set_random_seed(self.seed)
        if not isinstance(self._student, keras.Model):
            return models.slim(self.teacher.original, float(self._student), weights)
        if weights not in ("random", "teacher"):
            raise InputError(
                f'`weights` must be "random" or "teacher". Received: weights={weights!r}. Leave it '
                "out for the weights of the student as it was given."
            )
        copy = keras.models.clone_model(self._student, clone_function=clone_layer)
        copy.set_weights(self._student.get_weights())
        return models.start_from(self.teacher.original, copy) if weights == "teacher" else copy

    @property
    def elapsed(self) -> float:
        """Seconds since the run was begun, or continued."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Show a line, unless silence was asked for."""
        if progress.resolved(self._verbose):
            progress.show(text, self.elapsed, {})

    def synthesize(
        self, generator: ImpressionGenerator, count: int, name: str = "impressions"
    ) -> TransferSet:
        """Make `count` impressions, in a directory below the run's that is called `name`."""
        watching = for_synthesis(str(self.directory / "logs"))
        config = generator.get_config()
        with self.record.timed(name, "synthesis", num_impressions=count, config=config):
            return generator.generate(
                count,
                self.directory / name,
                seed=self.seed,
                callbacks=watching,
                verbose=self._verbose,
            )

    def fit(
        self,
        model: keras.Model,
        source: Source,
        epochs: int,
        batch_size: int,
        steps: int | None = None,
        name: str = "training",
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> dict[str, list[float]]:
        """Train a compiled model; it goes on bit for bit where an earlier call was killed.

        Args:
            model: Compiled.
            source: What it is trained on.
            epochs: 1 or more.
            batch_size: 1 or more.
            steps: Of an epoch; default: once through the source, which must have an end then.
            name: Of the stage.
            callbacks: As in Keras' `fit`; called after those that the user gave.

        Returns:
            The history of all epochs.

        Raises:
            InputError: If the loss becomes NaN.
        """
        steps = steps or source.steps(batch_size)
        if steps is None:
            raise InputError("`steps` must be given for a source without an end. Received: None.")
        set_steps_at_once(model, steps)
        logs = self.directory / "logs" / ("distillation" if name == "training" else name)
        config = {
            "epochs": epochs,
            "batch_size": batch_size,
            "steps": steps,
            "optimizer": keras.saving.serialize_keras_object(model.optimizer),
        }
        state = self._state(name)
        with self.record.timed(name, "training", config=config) as found:
            history = backup.fit(
                model,
                lambda step: source.stream(batch_size, self.seed, step),
                epochs,
                steps,
                state,
                callbacks=[
                    *self._callbacks,
                    *callbacks,
                    keras.callbacks.TensorBoard(str(logs)),
                    keras.callbacks.TerminateOnNaN(),
                ],
                verbose=self._verbose,
            )
            if not np.isfinite(history["loss"][-1:]).all():
                backup.remove(state)
                raise InputError(
                    f"The loss of the student became NaN in epoch {len(history['loss'])}. What was "
                    "made before is kept. Lower the learning rate, or check how the student is "
                    "initialized."
                )
            found["history"] = history
        return history

    def keep(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """What `make` returns, made once: arrays of everything else that takes time."""
        path = self._state(name).with_suffix(".npz")
        if not path.exists():
            with self.record.timed(name, "data"):
                arrays = make()
            path.parent.mkdir(exist_ok=True)
            beside = path.with_name(f"{path.name}.new")
            with open(beside, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(beside, path)
        with np.load(path) as held:
            return dict(held)

    def _state(self, name: str) -> pathlib.Path:
        return self.directory / ".state" / name


def set_steps_at_once(model: keras.Model, steps: int) -> int:
    """Let a compiled model make several steps in one call, and say how many; they divide `steps`."""
    # Keras makes whole calls only, and under several replicas none of several steps (3.15).
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    at_once = max(n for n in range(1, STEPS_AT_ONCE + 1) if steps % n == 0) if is_alone else 1
    model.steps_per_execution = at_once
    return at_once
