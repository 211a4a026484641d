"""`ClassBalance`: the distribution of the classes that the teacher predicts for impressions."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.callbacks.summary_callback import (
    SummaryCallback,
    check_class_names,
    class_labels,
)

_SIDE = 280
_NAMED = 25
_LEFT, _TOP, _BOTTOM = 64, 20, 36
_DESCRIPTION = (
    "All impressions so far by conditioning class (rows) and class predicted by the teacher "
    "(columns). Darker is more."
)


class ClassBalance(SummaryCallback):
    """Counts the impressions of each class, by conditioning class and by predicted class.

    Conditioning classes are balanced. Predicted classes may not be: a soft target may be largest
    for another class, and an impression may miss its target. Over all batches so far the callback
    writes the image "class_balance/named_by_conditioned" and the scalars "class_balance/match"
    (share of predictions equal to the conditioning class), "class_balance/evenness" (entropy of the
    predicted classes divided by `log K`; 1 is even) and "class_balance/rarest" (count of the rarest
    predicted class divided by the mean count). Impressions finished by an earlier call are not
    counted.

    Args:
        log_dir: Parent of the directory "class_balance" for the summaries. None only counts.
        class_names: Names of the classes, in the order of the teacher's outputs. Defaults to their
            indices.

    Attributes:
        counts: Integers `(K, K)`, with the conditioning class as row and the predicted class as
            column.

    Raises:
        InputError: If the numbers of names and classes differ.

    Example:
        >>> ClassBalance("logs").directory
        'logs/class_balance'
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        class_names: Sequence[str] | None = None,
    ):
        super().__init__(log_dir, run="class_balance")
        self.class_names = class_names
        self.counts = np.zeros((0, 0), np.int64)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start counting."""
        self.counts = np.zeros((0, 0), np.int64)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a finished batch."""
        batch = self.latest
        num_classes = batch["logits"].shape[-1]
        check_class_names(self.class_names, num_classes)
        if not self.counts.size:
            self.counts = np.zeros((num_classes, num_classes), np.int64)
        np.add.at(self.counts, (batch["label"], batch["logits"].argmax(axis=-1)), 1)
        named = self.counts.sum(axis=0)
        share = named[named > 0] / named.sum()
        evenness = -(share * np.log(share)).sum() / np.log(num_classes)
        with self.writer.as_default(step=epoch):
            tf.summary.scalar("class_balance/match", self.counts.trace() / named.sum())
            tf.summary.scalar("class_balance/evenness", evenness)
            tf.summary.scalar("class_balance/rarest", named.min() / named.mean())
            tf.summary.image(
                "class_balance/named_by_conditioned", self._picture()[None],
                description=_DESCRIPTION,
            )  # fmt: skip
        self.writer.flush()

    def _picture(self) -> np.ndarray:
        classes = len(self.counts)
        zoom = max(1, _SIDE // classes)
        size = zoom * classes
        field = pictures.heat(self.counts).repeat(zoom, axis=0).repeat(zoom, axis=1)
        canvas = np.full((_TOP + size + _BOTTOM, _LEFT + size + 8, 3), 255, np.uint8)
        canvas[_TOP : _TOP + size, _LEFT : _LEFT + size] = field
        canvas = pictures.write(
            canvas, [(8, 2, "conditioned on"), (_LEFT + size // 2 - 50, _TOP + size + 19,
        "teacher's prediction")] )  # fmt: skip
        if classes > _NAMED:
            return canvas
        names = class_labels(range(classes), self.class_names)
        centers = [zoom * i + zoom // 2 for i in range(classes)]
        rows = [(8, _TOP + y - 7, name) for y, name in zip(centers, names, strict=True)]
        columns = [
            (_LEFT + x - zoom // 2 + 2, _TOP + size + 4, name)
            for x, name in zip(centers, names, strict=True)
        ]
        return pictures.write(pictures.write(canvas, rows, _LEFT - 12), columns, zoom - 2)
