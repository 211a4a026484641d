"""Feature losses between teacher and student, with one forward pass of each model.

Takes `keras.distillation.DistillationLoss` objects. `keras.distillation.Distiller` runs the student
a second time for its features, in training mode even during evaluation, and its losses may be
scaled by the number of replicas. Here each model runs once, in the mode of the step, and losses are
computed per example.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import output_of
from keras_zskd.core.predictions import as_choices
from keras_zskd.distillation.folded_features import FoldedFeatures
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.models.logits import LogitsView
from keras_zskd.models.lowering.lowered import Lowered
from keras_zskd.models.teacher import Teacher


class FeatureMatch:
    """Runs teacher and student once and sums the feature losses.

    Args:
        teacher: The teacher.
        student: View of the student that returns logits.
        losses: `keras.distillation.DistillationLoss` objects.
        weights: Weights of the losses.
        compiled: Whether the step runs under XLA, see `Lowered`.

    Raises:
        InputError: If a loss refers to a layer that does not exist, or to layers of different
            shapes.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: LogitsView,
        losses: Sequence[Any],
        weights: Sequence[float],
        compiled: bool = False,
    ):
        self._losses = tuple(zip(losses, weights, strict=True))
        self._has_labels = teacher.is_multi_label
        named = [
            loss for loss in losses if isinstance(loss, keras.distillation.FeatureDistillation)
        ]
        self._has_features = bool(named)
        theirs = _tap(teacher.model, [loss.teacher_layer_name for loss in named], "teacher")
        ours = _tap(student.model, [loss.student_layer_name for loss in named], "student")
        _check_shapes(named, theirs[1:], ours[1:])
        self._teacher = Lowered(teacher.model, theirs, compiled, frozen=compiled)
        self._student = {
            training: Lowered(student.model, ours, compiled, training) for training in (False, True)
        }

    def __call__(self, images: Any, answers: Any, training: bool) -> tuple[Any, Any, Any, Any]:
        """Run both models on `images`.

        Args:
            images: `(N, ...)`.
            answers: Logits `(N, K)` of the teacher if known, else None.
            training: Whether the student runs in training mode.

        Returns:
            Logits `(N, K)` float32 of teacher and student, feature losses `(N,)`, and the sum of
            the losses that are defined for the whole batch only, a scalar.
        """
        teacher_features: list[Any] = []
        if answers is None or self._has_features:
            answers, *teacher_features = self._teacher(images)
        student_logits, *student_features = self._student[bool(training)](images)
        answers = tf.stop_gradient(tf.cast(answers, tf.float32))
        student_logits = tf.cast(student_logits, tf.float32)
        per_example = tf.zeros((tf.shape(student_logits)[0],))
        whole = tf.zeros(())
        pairs = iter(zip(teacher_features, student_features, strict=True))
        for loss, weight in self._losses:
            if isinstance(loss, keras.distillation.FeatureDistillation):
                per_example += weight * _per_example(loss.loss, *next(pairs))
            elif isinstance(loss, keras.distillation.LogitsDistillation):
                tau = loss.temperature
                # Keras applies the default loss to raw logits. Its documentation describes the
                # divergence of the softened predictions, which is used here.
                if _is_divergence(loss.loss):
                    theirs = as_choices(answers, self._has_labels)
                    ours = as_choices(student_logits, self._has_labels)
                    per_example += weight * distillation_loss(theirs, ours, tau)
                else:
                    value = _per_example(loss.loss, answers / tau, student_logits / tau)
                    per_example += weight * value
            else:
                whole += weight * tf.cast(loss.compute_loss(answers, student_logits), tf.float32)
        return answers, student_logits, per_example, whole


def _is_divergence(loss: Any) -> bool:
    return isinstance(loss, keras.losses.KLDivergence) or loss is keras.losses.kl_divergence


def _per_example(loss: Any, teacher_features: Any, student_features: Any) -> Any:
    # `call` of a Loss returns the value before the reduction and the scaling by replicas.
    function = loss.call if isinstance(loss, keras.losses.Loss) else loss
    value = function(tf.cast(teacher_features, tf.float32), tf.cast(student_features, tf.float32))
    return tf.reduce_mean(tf.reshape(value, (tf.shape(value)[0], -1)), axis=-1)


def _check_shapes(losses: list[Any], teacher: list[Any], student: list[Any]) -> None:
    for loss, theirs, ours in zip(losses, teacher, student, strict=True):
        if isinstance(loss, FoldedFeatures):
            loss.check_shapes(theirs.shape[1:], ours.shape[1:])
        elif tuple(theirs.shape[1:]) != tuple(ours.shape[1:]):
            raise InputError(
                "`distillation_losses` must compare layers of equal shape. Received: the teacher's "
                f"layer {loss.teacher_layer_name!r} of shape {tuple(theirs.shape[1:])} and the "
                f"student's layer {loss.student_layer_name!r} of shape {tuple(ours.shape[1:])}. "
                "Choose other layers, or append a layer of the teacher's size to the student's "
                "features."
            )


def _tap(model: keras.Model, names: list[str | None], role: str) -> list[Any]:
    """The symbolic logits and the outputs of the layers called `names`."""
    tensors = [model.outputs[0]]
    for name in names:
        if name is None:
            tensors.append(model.outputs[0])
            continue
        layers = [layer.name for layer in model.layers]
        if name not in layers and f"{name}_logits" in layers:  # The layer without its softmax.
            name = f"{name}_logits"
        if name not in layers:
            raise InputError(
                f"`distillation_losses` must refer to layers of the {role}. Received: layer "
                f"{name!r}. Choose one of {layers}."
            )
        output = output_of(model, name)
        if output is None:
            raise InputError(
                "`distillation_losses` must refer to layers in the graph of "
                f"{model.name!r}. Received: layer {name!r}, which has no output in it."
            )
        tensors.append(output)
    return tensors
