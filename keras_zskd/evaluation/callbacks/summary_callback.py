"""`SummaryCallback`: what all callbacks that write to TensorBoard have in common."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError


class SummaryCallback(keras.callbacks.Callback):
    """Base class of callbacks that write TensorBoard summaries.

    The writer is made at the first summary and closed when training ends. A subclass writes inside
    `with self.writer.as_default():` and ends a round with `self.writer.flush()`, so that a page
    that is open beside the run shows it.

    Args:
        log_dir: Parent of the directory that this callback writes to; several callbacks may share
            it. None writes nothing.
        run: Name of the directory below `log_dir`: what TensorBoard shows as the run.

    Attributes:
        directory: Where the summaries go, or None.
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None, run: str):
        super().__init__()
        self.directory = None if log_dir is None else os.path.join(os.fspath(log_dir), run)
        self._writer: Any = None

    @property
    def writer(self) -> Any:
        """The summary writer; made when first asked for."""
        if self._writer is None:
            self._writer = (
                tf.summary.create_noop_writer()
                if self.directory is None
                else tf.summary.create_file_writer(self.directory)
            )
        return self._writer

    @property
    def latest(self) -> dict[str, np.ndarray]:
        """The batch of impressions that the watched `ImpressionGenerator` works on.

        Raises:
            InputError: If what is watched is no generator.
        """
        latest = getattr(self.model, "latest", None)
        if latest is None:
            raise InputError(
                f"{type(self).__name__} was given to a {type(self.model).__name__}; expected "
                "ImpressionGenerator.generate(callbacks=[...]), because it watches impressions."
            )
        return latest

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the writer; a later run opens another file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def class_labels(classes: Any, class_names: Sequence[str] | None) -> list[str]:
    """Class numbers as names where there are any, else as numbers."""
    if class_names is None:
        return [str(int(number)) for number in classes]
    return [str(class_names[int(number)]) for number in classes]


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> None:
    """Refuse a list of names that is not the teacher's.

    Raises:
        InputError: If there are not as many names as classes.
    """
    if class_names is not None and len(class_names) != num_classes:
        raise InputError(
            f"{len(class_names)} class names were received; expected the teacher's {num_classes}, "
            "in the order of its outputs."
        )


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Probabilities `(N, K)` of logits, in float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
