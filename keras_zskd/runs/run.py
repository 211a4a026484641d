"""`Run`: the long operations of a method, which resume after an interruption."""

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
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.files import replacing
from keras_zskd.evaluation.callbacks.synthesis_callbacks import for_synthesis
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.source import Source
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.graph import clone_layer, fingerprint
from keras_zskd.models.slimming.batch_norms import limit_momentum
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs import backup
from keras_zskd.runs.record import RunRecord
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.timing import training_seconds

Passes = Sequence[tuple[keras.Model, float]]
"""Networks, each with a number of forward passes."""


class Run:
    """One training of one student by one method, in a directory.

    After an interruption, the `train` of a method is run again from its first line. Anything that
    takes long must therefore happen in `synthesize`, `fit` or `keep`: each of their calls is
    recorded under its name, and a finished call returns its earlier result immediately. Everything
    else in `train` must depend only on its arguments.

    A `Run` is a context manager: while it is open, the directory is locked by this process.

    Args:
        teacher: The teacher.
        student: A width in (0, 1] for `slim`, or a Keras classifier, of which a copy is trained.
        method: Name and arguments of the method, as plain JSON types.
        directory: A new or empty directory, or that of the same run.
        seed: Seed of all random numbers.
        resources: What the user has in addition to the teacher.
        callbacks: Callbacks for every training.
        verbose: 0 for silence, 1 for progress bars, 2 for one line per epoch and per tenth of the
            impressions; "auto" is 1 in a terminal or a notebook, else 2.

    Raises:
        InputError: If the directory is of another run, or in use by another process.
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
        checksum = self.resources.training_fingerprint
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
                **({"training_fingerprint": checksum} if checksum else {}),
            },
        )

    def __enter__(self) -> Self:
        self._lock = open(self.directory / ".lock", "w", encoding="utf-8")
        try:
            # The operating system releases the lock when the process ends, for whatever reason.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise invalid(
                "output_dir",
                "not be in use by another process",
                os.fspath(self.directory),
                fix="Wait for the other process, or choose another output directory.",
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
        """Return an untrained student, the same in every call; the caller's model is not changed.

        The momentum of its batch normalization is limited, see `limit_momentum`.

        Args:
            weights: "random" for random weights, or for those of the caller's model if the student
                is one. "teacher" for the teacher's weights, folded to the student's widths; see
                `start_from`.

        Raises:
            InputError: If `weights` is neither, or the teacher's do not fit the caller's model.
        """
        keras.utils.set_random_seed(self.seed)
        return limit_momentum(self._unlimited_student(weights))

    def _unlimited_student(self, weights: str) -> keras.Model:
        if not isinstance(self._student, keras.Model):
            return models.slim(self.teacher.prototype, float(self._student), weights)
        if weights not in ("random", "teacher"):
            raise invalid(
                "weights",
                'be "random" or "teacher"',
                weights,
                fix="Omit it to use the weights of the given student.",
            )
        copy = keras.models.clone_model(self._student, clone_function=clone_layer)
        copy.set_weights(self._student.get_weights())
        return models.start_from(self.teacher.prototype, copy) if weights == "teacher" else copy

    @property
    def elapsed(self) -> float:
        """Seconds since the run was started or resumed."""
        return time.monotonic() - self._begun

    def say(self, text: str) -> None:
        """Show a line, unless `verbose` is 0."""
        if progress.resolved(self._verbose):
            progress.show(text, self.elapsed, {})

    def synthesize(
        self,
        generator: ImpressionGenerator,
        count: int,
        name: str = "impressions",
        seed: int | None = None,
    ) -> TransferSet:
        """Make `count` impressions in the subdirectory `name` of the run directory.

        Args:
            generator: The generator.
            count: Number of impressions.
            name: Name of the stage and of the subdirectory.
            seed: Seed of the impressions. Defaults to that of the run. If a run makes several sets,
                each needs its own seed.
        """
        watching = for_synthesis(str(self.directory / "logs"))
        config = generator.get_config()
        with self.record.timed(name, "synthesis", num_impressions=count, config=config):
            return generator.generate(
                count,
                self.directory / name,
                seed=self.seed if seed is None else seed,
                callbacks=watching,
                verbose=self._verbose,
                cluster=self.resources.cluster,
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
        """Train a compiled model; an interrupted training resumes bit for bit.

        Args:
            model: A compiled model.
            source: The training inputs.
            epochs: Number of epochs, 1 or more.
            batch_size: Batch size, 1 or more.
            steps: Steps per epoch. Defaults to one pass over the source, which must be finite.
            name: Name of the stage.
            callbacks: As in Keras' `fit`; called after the user's callbacks.

        Returns:
            The history of all epochs.

        Raises:
            InputError: If the loss becomes NaN.
        """
        steps = steps or source.steps(batch_size)
        if steps is None:
            raise InputError("`steps` must be given for an infinite source. Received: steps=None.")
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
                    "The loss of the student must stay finite. Received: NaN in epoch "
                    f"{len(history['loss'])}. Earlier stages are kept. Lower the learning rate, or "
                    "check the initialization of the student."
                )
            found["history"] = history
        return history

    def pace(
        self, model: keras.Model, source: Source, batch_size: int, steps: int = STEPS_AT_ONCE
    ) -> tuple[float, float]:
        """Return the seconds of the first call of the train function, and of each later step.

        Args:
            model: A compiled model; only its compiled functions change.
            source: Its training inputs.
            batch_size: Examples in a batch.
            steps: Steps of an epoch, which limit the steps in a call.
        """
        at_once = set_steps_at_once(model, steps)
        return training_seconds(model, source, batch_size, self.seed, at_once)

    def keep(
        self,
        name: str,
        make: Callable[[], dict[str, np.ndarray]],
        measure: Callable[[], tuple[dict[str, np.ndarray], float]] | None = None,
        passes: Passes = (),
    ) -> dict[str, np.ndarray]:
        """Return the arrays of any other long computation, `make`, which is called only once.

        Args:
            name: Name of the stage.
            make: The computation.
            measure: Called in place of `make` when only an estimate is needed. Returns arrays of
                the same shapes from a part of the computation, and the estimated seconds of all of
                it. Defaults to timing `make`.
            passes: Forward passes of each network in the computation, for `Tally`; a pass with a
                gradient counts as `UPDATE` passes.
        """
        del measure, passes
        path = self._state(name).with_suffix(".npz")
        if not path.exists():
            with self.record.timed(name, "data"):
                arrays = make()
            with replacing(path) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]
        with np.load(path) as held:
            return dict(held)

    def _state(self, name: str) -> pathlib.Path:
        return self.directory / ".state" / name


def set_steps_at_once(model: keras.Model, steps: int) -> int:
    """Set and return the number of steps per call of a compiled model, a divisor of `steps`."""
    # Keras 3.15 cannot end an epoch within a call, and makes single steps with several replicas.
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    at_once = max(n for n in range(1, STEPS_AT_ONCE + 1) if steps % n == 0) if is_alone else 1
    if model.steps_per_execution != at_once:
        model.steps_per_execution = at_once
        # Keras 3.15 would keep the compiled function, which makes the earlier number of steps.
        model.train_function = None
    return at_once
