"""`ImpressionGallery`: pictures of impressions as they form."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.callbacks.summary_callback import (
    SummaryCallback,
    check_class_names,
    class_labels,
    softmax,
)

_MAX_COLUMNS = 12
_DESCRIPTION = (
    "Under each impression: the class that it was conditioned on; below that what the teacher says "
    "of it, with its confidence at temperature 1."
)


class ImpressionGallery(SummaryCallback):
    """Shows a labelled grid of impressions in TensorBoard, under the tab Images.

    "impressions/forming" is the first batch on its way out of the noise, one step for each
    checkpoint of the pixel loop; "impressions/finished" is every batch when it is done, one step
    for each.

    Args:
        log_dir: Parent of the directory "impressions" that the pictures go to.
        count: How many impressions to show of a batch, positive; its first ones.
        class_names: Names of the classes, in the order of the teacher's outputs. Defaults to their
            numbers.
        columns: Impressions in a row; by default as many as there are classes, up to 12, so that
            a column is of one class; else as many as make the grid about square.

    Raises:
        InputError: If `count` is not positive, or the names are not as many as the classes.

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
                f"count={count}, columns={columns} were received; expected positive numbers."
            )
        super().__init__(log_dir, run="impressions")
        self.count = count
        self.class_names = class_names
        self.columns = columns
        self._is_first_batch = True

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start anew."""
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
        answers = softmax(batch["logits"])
        lines = zip(
            class_labels(batch["label"], self.class_names),
            class_labels(answers.argmax(axis=-1), self.class_names),
            answers.max(axis=-1),
            strict=True,
        )
        grid = pictures.grid(
            batch["image"],
            [f"{asked}\n{confidence:.2f} {said}" for asked, said, confidence in lines],
            self.model.teacher.input_range,
            self.columns or (num_classes if num_classes <= _MAX_COLUMNS else None),
        )
        with self.writer.as_default():
            tf.summary.image(tag, grid[None], step=step, description=_DESCRIPTION)
        self.writer.flush()
