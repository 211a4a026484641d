"""Evaluation of teacher and student on the same images."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.predictions import as_choices, as_label_sets
from keras_zskd.evaluation.average_precision import mean_average_precision
from keras_zskd.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from keras_zskd.models.logits import logits_view
from keras_zskd.models.lowering.lowered import Lowered
from keras_zskd.models.teacher import Teacher


def evaluate(
    teacher: Any, student: Any, images: Any, labels: Any = None, batch_size: int = 512
) -> dict[str, float]:
    """Evaluate a student against its teacher, and both against labels if there are any.

    Without labels only fidelity is measured: agreement, `mean 1[argmax S = argmax T]`, and
    predictive KL, `mean KL(p_T || p_S)` at temperature 1. A student with high accuracy may have low
    fidelity.

    For a multi-label `Teacher`, each label of each image counts as an example of two classes, present
    and absent, and mean average precision takes the place of accuracy.

    Args:
        teacher: A `Teacher`, a Keras classifier, or any callable from images to logits `(N, K)`.
        student: A Keras classifier ending in logits or softmax, a `LiteRTModel`, or any callable
            from images to logits `(N, K)`.
        images: `(N, H, W, C)` in the pixel range that the teacher was trained on.
        labels: Integers `(N,)`, or None; for a multi-label teacher also sets of labels `(N, K)` of
            zeros and ones.
        batch_size: Number of images at a time, positive. It affects memory and time, not the
            result.

    Returns:
        A dict of floats: "num_images", "agreement", "predictive_kl", and with labels
        "teacher_accuracy", "student_accuracy" and the same pair for "ece" (15 bins), "nll" and
        "brier"; "mean_average_precision" instead of "accuracy" for a multi-label teacher.

    Raises:
        InputError: If there are no images, or shapes, labels or class counts do not match.

    Example:
        >>> def teacher(images):
        ...     return images
        >>> def student(images):
        ...     return 2.0 * images
        >>> result = evaluate(teacher, student, np.array([[1.0, 0.0], [0.0, 3.0]]), labels=[0, 0])
        >>> result["agreement"], result["student_accuracy"]
        (1.0, 0.5)

    References:
        Stanton et al., "Does Knowledge Distillation Really Work?", NeurIPS 2021 (fidelity).
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (ECE).
    """
    if batch_size < 1:
        raise invalid("batch_size", "be positive", batch_size)
    return compare(
        all_logits(teacher, images, "teacher", batch_size),
        all_logits(student, images, "student", batch_size),
        labels,
        bool(getattr(teacher, "is_multi_label", False)),
    )


def compare(
    teacher_logits: np.ndarray,
    student_logits: np.ndarray,
    labels: Any = None,
    is_multi_label: bool = False,
) -> dict[str, float]:
    """Compare logits `(N, K)` of teacher and student on the same images.

    Args:
        teacher_logits: `(N, K)`, see `all_logits`.
        student_logits: The same of the student.
        labels: See `evaluate`.
        is_multi_label: Whether any number of the labels may be present in one image.

    Returns:
        See `evaluate`.
    """
    from scipy.special import log_softmax

    if teacher_logits.shape != student_logits.shape:
        raise InputError(
            "`teacher` and `student` must have the same classes. Received: logits of shape "
            f"{teacher_logits.shape} and {student_logits.shape}."
        )
    log_p, log_q = (
        log_softmax(_examples(logits, is_multi_label), axis=-1)
        for logits in (teacher_logits, student_logits)
    )
    result = {
        "num_images": float(len(teacher_logits)),
        "agreement": float((log_p.argmax(axis=1) == log_q.argmax(axis=1)).mean()),
        "predictive_kl": float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()),
    }
    if labels is None:
        return result
    labels = np.asarray(labels)
    if is_multi_label:
        sets = _label_sets(labels, teacher_logits)
        for name, logits in (("teacher", teacher_logits), ("student", student_logits)):
            result[f"{name}_mean_average_precision"] = mean_average_precision(logits, sets)
        labels = sets.reshape(-1)
    for name, scores in (("teacher", log_p), ("student", log_q)):
        probabilities = np.exp(scores)
        # The likelihood comes first: it checks that labels match images and classes.
        result[f"{name}_nll"] = negative_log_likelihood(scores, labels)
        if not is_multi_label:
            result[f"{name}_accuracy"] = float((scores.argmax(axis=1) == labels).mean())
        result[f"{name}_ece"] = expected_calibration_error(probabilities, labels)
        result[f"{name}_brier"] = brier_score(probabilities, labels)
    return result


def _examples(logits: np.ndarray, is_multi_label: bool) -> np.ndarray:
    """Logits of one example per row: of an image, or of a label of an image."""
    return np.asarray(as_choices(logits, True)).reshape(-1, 2) if is_multi_label else logits


def _label_sets(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    sets = as_label_sets(labels, logits.shape[1])
    if sets.shape != logits.shape:
        raise InputError(
            f"`labels` must be sets of labels of shape {logits.shape}, of zeros and ones. Received: "
            f"labels of shape {labels.shape}."
        )
    return sets.astype(np.int64)


def as_logits_function(model: Any) -> Callable[[Any], Any]:
    """Return a model as a function from images to logits `(N, K)`.

    A Keras model returns its logits, even if it ends in softmax. Any other callable, such as a
    `Teacher` or a `LiteRTModel`, is assumed to return logits.

    Raises:
        InputError: If `model` is not callable.
    """
    if isinstance(model, Teacher):
        return _compiled(model.model)
    if isinstance(model, keras.Model):
        return _compiled(logits_view(model).model)
    if not callable(model):
        raise InputError(
            "A model must be a Keras model, a LiteRTModel, or a function from images to logits. "
            f"Received: a {type(model).__name__}."
        )
    return model


def _compiled(flat: keras.Model) -> Callable[[Any], Any]:
    lowered, image = Lowered(flat), flat.inputs[0]
    traced = tf.function(lambda images: lowered(images)[0], autograph=False)
    # Traced once and for any number of images: TensorFlow warns if calls often trace.
    call = traced.get_concrete_function(tf.TensorSpec(image.shape, image.dtype))
    return lambda images: call(tf.cast(images, image.dtype))


def all_logits(model: Any, images: Any, role: str, batch_size: int = 512) -> np.ndarray:
    """Compute the logits of a model for all images.

    Args:
        model: See `as_logits_function`.
        images: `(N, ...)`.
        role: "teacher" or "student", for errors.
        batch_size: Number of images at a time, positive.

    Returns:
        `(N, K)` float64.

    Raises:
        InputError: If there are no images, their shape does not match, or logits are not finite.
    """
    images = np.asarray(images)
    if not images.ndim or not len(images):
        raise InputError("`images` must hold at least one image. Received: no images.")
    answer = as_logits_function(model)
    starts = range(0, len(images), batch_size)
    try:
        batches = [np.asarray(answer(images[i : i + batch_size]), np.float64) for i in starts]
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        # The input shape of a Keras model includes the batch; that of the other classes does not.
        expected = tuple(getattr(model, "input_shape", None) or ())
        expected = expected[1:] if isinstance(model, keras.Model) else expected
        if isinstance(error, InputError) or expected in ((), images.shape[1:]):
            raise
        raise InputError(
            f"`images` must match the inputs of the {role}, of shape {expected}. Received: images "
            f"of shape {images.shape[1:]}. Load them at the input size of the models."
        ) from error
    logits = np.concatenate(batches)
    if logits.ndim != 2 or len(logits) != len(images):
        raise InputError(
            f"`{role}` must return one row of logits per image. Received: an array of shape "
            f"{logits.shape} for {len(images)} images."
        )
    if not np.isfinite(logits).all():
        raise InputError(
            f"`{role}` must return finite logits. Received: NaN or infinite logits. Check its "
            "weights and the pixel range of the images."
        )
    return logits
