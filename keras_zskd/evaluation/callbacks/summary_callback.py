"""`SummaryCallback`: base class of the callbacks that write to TensorBoard."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError


class SummaryCallback(keras.callbacks.Callback):
    """Base class of callbacks that write TensorBoard summaries.

    The writer is created with the first summary and closed at the end of the training. A subclass
    writes inside `with self.writer.as_default():` and then calls `self.writer.flush()`, so that an
    open TensorBoard page shows the summaries during the run.

    Args:
        log_dir: Parent of the directory that this callback writes to; several callbacks may share
            it. None writes nothing.
        run: Name of the directory below `log_dir`, which TensorBoard shows as the run.

    Attributes:
        directory: Directory of the summaries, or None.
    """

    def __init__(self, log_dir: str | os.PathLike[str] | None, run: str):
        super().__init__()
        self.directory = None if log_dir is None else os.path.join(os.fspath(log_dir), run)
        self._writer: Any = None

    @property
    def writer(self) -> Any:
        """The summary writer, created on first use."""
        if self._writer is None:
            self._writer = (
                tf.summary.create_noop_writer()
                if self.directory is None
                else tf.summary.create_file_writer(self.directory)
            )
        return self._writer

    @property
    def latest(self) -> dict[str, np.ndarray]:
        """The current batch of impressions of the `ImpressionGenerator`.

        Raises:
            InputError: If the model of the callback is not an `ImpressionGenerator`.
        """
        latest = getattr(self.model, "latest", None)
        if latest is None:
            raise InputError(
                f"{type(self).__name__} must be passed to "
                "ImpressionGenerator.generate(callbacks=[...]), since it monitors impressions. "
                f"Received: a {type(self.model).__name__}."
            )
        return latest

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the writer; a later run opens a new file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def class_labels(classes: Any, class_names: Sequence[str] | None) -> list[str]:
    """Return the names of class indices, or the indices as text if there are no names."""
    if class_names is None:
        return [str(int(number)) for number in classes]
    return [str(class_names[int(number)]) for number in classes]


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> None:
    """Check that there is one name per class.

    Raises:
        InputError: If the numbers of names and classes differ.
    """
    if class_names is not None and len(class_names) != num_classes:
        raise InputError(
            f"`class_names` must hold {num_classes} names, in the order of the teacher's outputs. "
            f"Received: {len(class_names)} names."
        )
