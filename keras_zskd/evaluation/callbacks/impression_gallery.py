"""`ImpressionGallery`: images of impressions during the synthesis."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.predictions import probabilities
from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.callbacks.summary_callback import (
    SummaryCallback,
    check_class_names,
    class_labels,
)

_MAX_COLUMNS = 12
_DESCRIPTION = (
    "Below each impression: its conditioning class, then the teacher's confidence at temperature 1 "
    "and the class that it predicts."
)


class ImpressionGallery(SummaryCallback):
    """Shows a labeled grid of impressions in TensorBoard, in the tab Images.

    "impressions/forming" shows the first batch during its optimization, with one step per
    checkpoint of the pixel loop; "impressions/finished" shows every finished batch, with one step
    per batch.

    Args:
        log_dir: Parent of the directory "impressions" for the images.
        count: Number of impressions to show from the start of a batch, positive.
        class_names: Names of the classes, in the order of the teacher's outputs. Defaults to their
            indices.
        columns: Impressions per row, positive. Defaults to the number of classes if it is at most
            12, so that a column shows one class; else the grid is about square.

    Raises:
        InputError: If `count` or `columns` is not positive, or the numbers of names and classes
            differ.

    Example:
        >>> gallery = ImpressionGallery("logs", count=20, columns=10)
        >>> gallery.directory
        'logs/impressions'
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str],
        count: int = 40,
        class_names: Sequence[str] | None = None,
        columns: int | None = None,
    ):
        if count < 1 or (columns is not None and columns < 1):
            raise InputError(
                "`count` and `columns` must be positive. "
                f"Received: count={count}, columns={columns}."
            )
        super().__init__(log_dir, run="impressions")
        self.count = count
        self.class_names = class_names
        self.columns = columns
        self._is_first_batch = True

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Reset to the first batch."""
        self._is_first_batch = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the first batch at a checkpoint of the pixel loop."""
        if self._is_first_batch:
            self._show("impressions/forming", batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show a finished batch."""
        self._is_first_batch = False
        self._show("impressions/finished", epoch)

    def _show(self, tag: str, step: int) -> None:
        batch = {name: value[: self.count] for name, value in self.latest.items()}
        num_classes = batch["logits"].shape[-1]
        check_class_names(self.class_names, num_classes)
        answers = probabilities(batch["logits"], self.model.teacher.is_multi_label)
        lines = zip(
            class_labels(batch["label"], self.class_names),
            class_labels(answers.argmax(axis=-1), self.class_names),
            answers.max(axis=-1),
            strict=True,
        )
        grid = pictures.grid(
            batch["image"],
            [f"{target}\n{confidence:.2f} {predicted}" for target, predicted, confidence in lines],
            self.model.teacher.input_range,
            self.columns or (num_classes if num_classes <= _MAX_COLUMNS else None),
        )
        with self.writer.as_default():
            tf.summary.image(tag, grid[None], step=step, description=_DESCRIPTION)
        self.writer.flush()
