"""`fit` that goes on where it was stopped, bit for bit."""

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

# Least time between two files.
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
    """Train a compiled model; the same call again goes on from what `path` holds.

    A training that was killed and goes on equals one that was not, bit for bit: weights, optimizer,
    random state of the layers, metrics, history. That is so as long as what `stream` yields and what
    the model draws depend on the number of the step only. State of callbacks is not kept.

    Args:
        model: What is trained. Of a model that has them, variables in `frozen_variables` are not kept,
            and those of all `optimizers` are.
        stream: From the number of a step to endless batches that begin there.
        epochs: All of them, also those of earlier calls.
        steps: Of an epoch; a multiple of the model's `steps_per_execution`.
        path: The file that holds the state: written every 30 seconds, and when the training has
            ended. The caller removes it.
        callbacks: As in Keras' `fit`.
        settings: What must be the same for a training to go on, as plain JSON types.
        verbose: 0 for silence, 1 for progress bars, 2 for a line per epoch; "auto" is 1 in a terminal
            or a notebook, else 2.

    Returns:
        The history of all epochs, as Keras' `History` has it.

    Raises:
        InputError: If `path` holds a training with other settings.
    """
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
            # Keras makes the metrics in the first step, too late to give them their values.
            with model.distribute_strategy.scope():
                build_metrics(model, next(iter(data)))
        # Keras cannot begin inside an epoch, so what is left of one is a `fit` of its own.
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
    """Keeps the whole state of a training in one file, replaced as a whole.

    The file before it is kept as well, for a disk that loses the last seconds.

    Args:
        path: See `fit`.
        steps: Of an epoch.
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
        """Give a model whose optimizer is built the state that was read or taken last."""
        if not self._arrays:
            return
        variables = _variables(model, metrics)
        arrays = self._arrays if metrics else self._arrays[: len(variables)]
        if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
            raise InputError(
                f"The file {str(self._path)!r} must hold the variables of this model and its "
                "optimizer. Received: a file with other variables. Remove it to train from the start."
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def finish(self) -> None:
        """Keep what the model is now: at the end of `fit`, Keras may change weights once more."""
        self.is_finished = True
        self._take()
        self._write()

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on from the state that was read or taken last."""
        self._first = self.step
        self.restore(self.model, metrics=False)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Metrics, which Keras sets to zero, go on in the middle of an epoch."""
        self._before = max(epoch * self._steps, self._first)
        if self._before % self._steps:
            self.restore(self.model)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write if it is time."""
        self.step = self._before + batch + 1
        if self.step % self._steps and time.monotonic() - self._written >= _SECONDS:
            self._take()
            self._write()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add to the history, write if it is time."""
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
                    f"The file {str(path)!r} holds an unfinished training with other settings: "
                    f"expected {self._settings}. Received: {facts['settings']}. Ask for those "
                    "settings to go on with it, or remove the file to train from the start."
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
        beside = self._path.with_name(f"{self._path.name}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        if self._path.exists():
            os.replace(self._path, self._previous)
        os.replace(beside, self._path)
        self._written = time.monotonic()


def remove(path: str | os.PathLike[str]) -> None:
    """Remove what `fit` has kept at `path`."""
    path = pathlib.Path(path)
    for name in (path.name, f"{path.name}.previous", f"{path.name}.new"):
        path.with_name(name).unlink(missing_ok=True)


def _variables(model: keras.Model, metrics: bool = True) -> list[Any]:
    """All variables that training changes, as TensorFlow's, one for each replica."""
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
