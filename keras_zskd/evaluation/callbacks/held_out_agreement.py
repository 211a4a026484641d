"""`HeldOutAgreement`: the agreement of student and teacher on held-out impressions."""

import contextlib
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.predictions import decided
from keras_zskd.evaluation.callbacks.summary_callback import SummaryCallback
from keras_zskd.evaluation.measures import as_logits_function
from keras_zskd.models.teacher import Teacher


class HeldOutAgreement(SummaryCallback):
    """Measures `mean_n 1[argmax S(x_n) = argmax T(x_n)]` after epochs of `Distiller.fit`.

    Without data, the accuracy is unknown, but the agreement on impressions that the student was not
    trained on can be monitored. It is added to the logs as `name`, so that it is in the history and
    later callbacks, such as `keras.callbacks.EarlyStopping`, can monitor it. Impressions are not
    real inputs; on those the agreement may be lower. For a multi-label `Teacher`, it is the share
    of labels that both predict as present or both as absent.

    Args:
        images: `(N, *input_shape)` impressions, in the pixel range of the models.
        teacher: A `Teacher`, a Keras classifier, or any function from images to scores `(N, K)`.
            Defaults to the teacher of the `Distiller` in training. It runs once.
        every: Number of epochs between measurements, positive. The first and the last epoch are
            always measured. Other epochs repeat the last value in the logs.
        log_dir: Parent of the directory `name` for TensorBoard. None only adds to the logs.
        batch_size: Number of images at a time, positive.
        name: Name of the value in the logs.

    Attributes:
        history: Pairs of epoch and measured agreement.

    Raises:
        InputError: If there are no images, `every` or `batch_size` is not positive, or there is no
            teacher.

    Example:
        >>> callback = HeldOutAgreement(np.zeros((10, 8, 8, 1), "float32"), every=5)
        >>> callback.history
        []
    """

    def __init__(
        self,
        images: Any,
        teacher: Any = None,
        every: int = 1,
        log_dir: str | os.PathLike[str] | None = None,
        batch_size: int = 512,
        name: str = "held_out_agreement",
    ):
        super().__init__(log_dir, run=name)
        self.name = name
        self.images = np.asarray(images, np.float32)
        if self.images.ndim < 2 or not len(self.images):
            raise InputError(
                "`images` must have shape (images, *input_shape), with at least one image. "
                f"Received: images of shape {self.images.shape}."
            )
        if every < 1 or batch_size < 1:
            raise InputError(
                "`every` and `batch_size` must be positive. "
                f"Received: every={every}, batch_size={batch_size}."
            )
        self.teacher = teacher
        self.every = every
        self.batch_size = batch_size
        self.history: list[tuple[int, float]] = []
        self._answers: np.ndarray | None = None
        self._student: Callable[[Any], Any] | None = None
        self._is_multi_label = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Run the teacher, if this is the first training."""
        self.history = []
        if self._answers is None:
            teacher = self.teacher if self.teacher is not None else _of(self.model, "teacher")
            self._is_multi_label = bool(getattr(teacher, "is_multi_label", False))
            self._answers = self._classes(_scores(teacher))
        student = getattr(self.model, "student", self.model)
        # Whether a label is present is decided by the sign of its logit.
        self._student = as_logits_function(student) if self._is_multi_label else _scores(student)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Measure the agreement, or repeat the last value."""
        is_last = epoch + 1 == (self.params or {}).get("epochs")
        if not self.history or is_last or (epoch + 1) % self.every == 0:
            agreement = float(np.mean(self._classes(self._student) == self._answers))
            self.history.append((epoch, agreement))
            with self.writer.as_default(step=epoch):
                tf.summary.scalar(self.name, agreement)
            self.writer.flush()
        if logs is not None:
            logs[self.name] = self.history[-1][1]

    def _classes(self, scores: Any) -> np.ndarray:
        starts = range(0, len(self.images), self.batch_size)
        batches = [scores(self.images[start : start + self.batch_size]) for start in starts]
        return np.concatenate([decided(batch, self._is_multi_label) for batch in batches])


def _scores(model: Any) -> Callable[[Any], Any]:
    if not isinstance(model, keras.Model):
        return _function(model) if isinstance(model, Teacher) else model
    if hasattr(model, "inputs"):
        # A single output, the logit or probability of class 1, becomes the logits of two classes.
        with contextlib.suppress(InputError):
            return as_logits_function(model)
    # Python code or an unusual activation: the largest output is still the predicted class.
    return _function(lambda images: model(images, training=False))


def _function(answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return tf.function(answer, reduce_retracing=True, autograph=False)


def _of(model: Any, role: str) -> Any:
    value = getattr(model, role, None)
    if value is None:
        raise InputError(
            f"`{role}` must be passed to HeldOutAgreement, since the trained model has none. "
            f"Received: {role}=None and a {type(model).__name__} in training."
        )
    return value
