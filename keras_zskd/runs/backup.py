"""A `fit` that resumes an interrupted training bit for bit."""

import json
import os
import pathlib
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import progress
from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import build_metrics
from keras_zskd.core.workers import refuse_several_machines

# Minimum time between two writes of the state.
_SECONDS = 30.0


def fit(
    model: keras.Model,
    stream: Callable[[int], tf.data.Dataset],
    epochs: int,
    steps: int,
    path: str | os.PathLike[str],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    settings: Mapping[str, Any] | None = None,
    verbose: int | str = "auto",
) -> dict[str, list[float]]:
    """Train a compiled model; the same call resumes from the state in `path`.

    A training that was killed and resumed equals an uninterrupted one bit for bit: weights,
    optimizer, random state of the layers, metrics, history. This requires that the batches of
    `stream` and the random numbers of the model depend only on the step. The state of callbacks is
    not saved.

    Args:
        model: The model to train. If it has `frozen_variables`, these are not saved; if it has
            `optimizers`, the variables of all of them are saved.
        stream: Function from a step to an infinite dataset of batches that starts at this step.
        epochs: Total number of epochs, including those of earlier calls.
        steps: Steps per epoch; a multiple of the model's `steps_per_execution`.
        path: The file that holds the state, written about every 30 seconds and at the end of the
            training. The caller removes it with `remove`.
        callbacks: As in Keras' `fit`.
        settings: Settings that must be the same when a training is resumed, as plain JSON types.
        verbose: 0 for silence, 1 for progress bars, 2 for one line per epoch; "auto" is 1 in a
            terminal or a notebook, else 2.

    Returns:
        The history of all epochs, as in Keras' `History`.

    Raises:
        InputError: If `path` holds a training with other settings, or the model is trained on several
            machines.
    """
    refuse_several_machines(model.distribute_strategy)
    state = TrainingState(path, steps, {"epochs": epochs, "steps": steps, **(settings or {})})
    with model.distribute_strategy.scope():
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
    verbose = progress.resolved(verbose)
    lines = [progress.EpochLines(epochs)] if verbose == 2 else []
    while not state.is_finished:
        epoch, done = divmod(state.step, steps)
        data = stream(state.step)
        if done:
            # Keras creates the metrics in the first step, too late to restore their values.
            with model.distribute_strategy.scope():
                build_metrics(model, next(iter(data)))
        # Keras cannot start in the middle of an epoch, so the rest of one is a separate `fit`.
        model.fit(
            data,
            initial_epoch=epoch,
            epochs=epoch + 1 if done else epochs,
            steps_per_epoch=steps - done,
            callbacks=[*callbacks, *lines, state],
            verbose=0 if lines else verbose,
            shuffle=False,
        )
        if state.step == epochs * steps or model.stop_training:
            state.finish()
    state.restore(model, metrics=False)
    return state.history


class TrainingState(keras.callbacks.Callback):
    """Saves the whole state of a training to one file, which is replaced atomically.

    The previous file is kept as well, in case a failure of the machine damages the last one.

    Args:
        path: See `fit`.
        steps: Steps per epoch.
        settings: See `fit`.
    """

    def __init__(self, path: str | os.PathLike[str], steps: int, settings: Mapping[str, Any]):
        super().__init__()
        self._path = pathlib.Path(path)
        self._steps = steps
        self._settings = json.loads(json.dumps(dict(settings)))
        self._written = time.monotonic()
        self._arrays: list[np.ndarray] = []
        self.step, self.is_finished = 0, False
        self.history: dict[str, list[float]] = {}
        self._read()

    def restore(self, model: keras.Model, metrics: bool = True) -> None:
        """Restore the last state to a model whose optimizer is built."""
        if not self._arrays:
            return
        variables = _variables(model, metrics)
        arrays = self._arrays if metrics else self._arrays[: len(variables)]
        if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
            raise InputError(
                f"The file {str(self._path)!r} must hold the variables of this model and its "
                "optimizer. Received: a file with other variables. Remove it to start again."
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def finish(self) -> None:
        """Save the current state: Keras may change weights again at the end of `fit`."""
        self.is_finished = True
        self._take()
        self._write()

    def on_train_begin(self, logs: Any = None) -> None:
        """Restore the last state."""
        self._first = self.step
        self.restore(self.model, metrics=False)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restore the metrics, which Keras resets, if training resumes within an epoch."""
        self._before = max(epoch * self._steps, self._first)
        if self._before % self._steps:
            self.restore(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write the state if it is due."""
        self.step = self._before + batch + 1
        if self.step % self._steps and time.monotonic() - self._written >= _SECONDS:
            self._take()
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Extend the history, and write the state if it is due."""
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        is_rest = self._first % self._steps > 0
        if is_rest or time.monotonic() - self._written >= _SECONDS:
            self._take()
            self._write()

    def _take(self) -> None:
        self._arrays = [variable.numpy() for variable in _variables(self.model)]

    def _read(self) -> None:
        for path in (self._path, self._previous):
            try:
                with open(path, "rb") as opened, np.load(opened) as file:
                    facts = json.loads(str(file["facts"]))
                    arrays = [file[f"variable_{i}"] for i in range(facts["variables"])]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue
            if facts["settings"] != self._settings:
                raise InputError(
                    f"The file {str(path)!r} must hold a training with settings {self._settings}. "
                    f"Received: {facts['settings']}. Use these settings to resume it, or remove "
                    "the file to start again."
                )
            self.step, self.history = facts["step"], facts["history"]
            self.is_finished = facts["is_finished"]
            self._arrays = arrays
            return

    @property
    def _previous(self) -> pathlib.Path:
        return self._path.with_name(f"{self._path.name}.previous")

    def _write(self) -> None:
        facts = {
            "settings": self._settings,
            "step": self.step,
            "history": self.history,
            "is_finished": self.is_finished,
            "variables": len(self._arrays),
        }
        arrays = {f"variable_{i}": array for i, array in enumerate(self._arrays)}
        temporary = self._path.with_name(f"{self._path.name}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if self._path.exists():
            os.replace(self._path, self._previous)
        os.replace(temporary, self._path)
        self._written = time.monotonic()


def remove(path: str | os.PathLike[str]) -> None:
    """Remove the state of `fit` at `path`."""
    path = pathlib.Path(path)
    for name in (path.name, f"{path.name}.previous", f"{path.name}.new"):
        path.with_name(name).unlink(missing_ok=True)


def _variables(model: keras.Model, metrics: bool = True) -> list[Any]:
    """Return all variables that training changes, as TensorFlow variables, one per replica."""
    frozen = {id(variable) for variable in getattr(model, "frozen_variables", ())}
    found: dict[int, Any] = {}
    of_metrics = model.metrics_variables if metrics else ()
    optimizers = getattr(model, "optimizers", (model.optimizer,))
    of_optimizers = [variable for optimizer in optimizers for variable in optimizer.variables]
    for variable in (*model.variables, *of_optimizers, *of_metrics):
        if id(variable) not in frozen:
            value = variable.value
            for component in getattr(value, "values", None) or (value,):
                found[id(component)] = component
    return list(found.values())
