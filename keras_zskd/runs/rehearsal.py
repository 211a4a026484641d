"""`Rehearsal`: estimate the cost of a run from a measured part of each stage."""

import dataclasses
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.core.machine import peak_memory
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.source import Arrays, Source, num_held_out
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Passes, Run, set_steps_at_once
from keras_zskd.runs.timing import epoch_seconds, training_seconds

# Seconds in which the pace of a training is measured: the speed of a machine changes by the second.
_PACE_SECONDS = 4.0


@dataclasses.dataclass(frozen=True)
class StageEstimate:
    """Estimated cost of one stage.

    Attributes:
        name: Name of the stage.
        seconds: Time on this machine under its current load.
        disk: Bytes that remain in the run directory.
        memory: Bytes of the examples held in memory.
    """

    name: str
    seconds: float
    disk: int = 0
    memory: int = 0


class Rehearsal(Run):
    """Runs the `train` of a method, but only a part of each stage, and keeps nothing.

    Args:
        teacher: The teacher.
        student: As for `Run`.
        seed: Seed of all random numbers.
        resources: What the user has in addition to the teacher.

    Attributes:
        stages: An estimate for each stage of `train`.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: float | keras.Model,
        seed: int = 0,
        resources: Resources | None = None,
    ):
        self._scratch = tempfile.TemporaryDirectory()
        try:
            super().__init__(teacher, student, {}, self._scratch.name, seed, resources, verbose=0)
        except BaseException:
            self._scratch.cleanup()
            raise
        self.stages: list[StageEstimate] = []
        self._not_made = 0.0
        # By model, batch size and steps in a call: the results of `pace` and of `epoch_seconds`.
        self._paces: dict[tuple[keras.Model, int, int], tuple[float, float]] = {}
        self._epochs: dict[tuple[keras.Model, int, int], tuple[float, float]] = {}

    @property
    def elapsed(self) -> float:
        """Seconds since the start, plus those that the skipped impressions would have taken."""
        return super().elapsed + self._not_made

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._scratch.cleanup()

    @property
    def memory(self) -> int:
        """Upper bound of the memory in bytes: the peak of this process, plus the examples."""
        # The examples are held twice, as arrays and as tensors.
        return peak_memory() + 2 * max((stage.memory for stage in self.stages), default=0)

    def synthesize(
        self,
        generator: ImpressionGenerator,
        count: int,
        name: str = "impressions",
        seed: int | None = None,
    ) -> TransferSet:
        """Make one batch of impressions with few steps, as a sample of `count` impressions."""
        del seed
        seconds = sum(generator.measure(count, self.directory / name))
        self._not_made += seconds
        values = math.prod(self.teacher.input_shape) + 2 * self.teacher.num_classes + 2
        size = 4 * count * values
        self.stages.append(StageEstimate(name, seconds, disk=size, memory=size))
        return _Sample(self.directory / name, count)

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
        """Time a few calls of the compiled step, and ends of epochs.

        The first call of a model, which compiles the step, is counted once.
        """
        steps = steps or source.steps(batch_size) or 1
        key = model, batch_size, set_steps_at_once(model, steps)
        compiling = 0.0
        if key not in self._epochs:
            watching = [*callbacks, keras.callbacks.TensorBoard(str(self.directory / "logs"))]
            arguments = model, source, batch_size, self.seed, key[-1]
            if key not in self._paces:
                self._paces[key] = training_seconds(*arguments, _PACE_SECONDS, watching)
                compiling = self._paces[key][0]
            self._epochs[key] = epoch_seconds(*arguments, watching)
        per_step, (start, per_end) = self._paces[key][1], self._epochs[key]
        seconds = compiling + start + epochs * (steps * per_step + per_end)
        self.stages.append(StageEstimate(name, seconds))
        return dict(model.history.history)

    def pace(
        self, model: keras.Model, source: Source, batch_size: int, steps: int = STEPS_AT_ONCE
    ) -> tuple[float, float]:
        """Measure once for each model and number of steps in a call: inputs change it little."""
        key = model, batch_size, set_steps_at_once(model, steps)
        if key not in self._paces:
            self._paces[key] = super().pace(model, source, batch_size, steps)
        return self._paces[key]

    def keep(
        self,
        name: str,
        make: Callable[[], dict[str, np.ndarray]],
        measure: Callable[[], tuple[dict[str, np.ndarray], float]] | None = None,
        passes: Passes = (),
    ) -> dict[str, np.ndarray]:
        """Measure a part, or make all arrays if there is no `measure`."""
        del passes
        if measure is None:
            begun = time.perf_counter()
            arrays = make()
            seconds = time.perf_counter() - begun
        else:
            arrays, seconds = measure()
        size = sum(array.nbytes for array in arrays.values())
        self.stages.append(StageEstimate(name, seconds, disk=size, memory=size))
        return arrays


class _Sample(TransferSet):
    """A few impressions that represent many."""

    def __init__(self, directory: pathlib.Path, count: int):
        super().__init__(directory)
        self._count = count

    def split(self) -> tuple[Arrays, np.ndarray]:
        seen, held_out = super().split()
        # After each epoch, the student is evaluated on all held-out images.
        shape = num_held_out(self._count), *held_out.shape[1:]
        held_out = np.resize(held_out if len(held_out) else seen.images(shape[0]), shape)
        return _Repeated(seen.arrays, self._count - len(held_out)), held_out


class _Repeated(Arrays):
    """Arrays that report more examples than they hold."""

    def __init__(self, arrays: Any, count: int):
        super().__init__(arrays)
        self._count = count

    def followed_by(self, other: Arrays) -> Arrays:
        return _Repeated(super().followed_by(other).arrays, self._count + other._count)
