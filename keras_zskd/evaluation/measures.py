"""Teacher and student on the same images, in numbers."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.calibration_error import (
    brier_score,
    expected_calibration_error,
    log_softmax,
    negative_log_likelihood,
)
from keras_zskd.models.graph import logits_view


def evaluate(
    teacher: Any, student: Any, images: Any, labels: Any = None, batch_size: int = 512
) -> dict[str, float]:
    """Measure a student against its teacher, and both against labels where there are any.

    Without labels only fidelity is measured: agreement, `mean 1[argmax S = argmax T]`, and
    predictive KL, `mean KL(p_T || p_S)` at temperature 1. A student of high accuracy may have low
    fidelity.

    Args:
        teacher: A `Teacher`, a Keras classifier, or any callable from images to logits `(N, K)`.
        student: A Keras classifier ending in logits or softmax, a `LiteRTModel`, or any callable
            from images to logits `(N, K)`.
        images: `(N, H, W, C)` in the pixel range that the teacher was trained on.
        labels: `(N,)` integers, or None.
        batch_size: Images at a time. Changes memory and time, not the result.

    Returns:
        Plain floats: "num_images", "agreement", "predictive_kl", and with labels
        "teacher_accuracy", "student_accuracy" and the same pair of "ece" (15 bins), "nll" and
        "brier".

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
        raise InputError(f"batch_size={batch_size} was received; expected a positive number.")
    images = np.asarray(images)
    if not images.ndim or not len(images):
        raise InputError("No images were received; expected at least one to measure with.")
    teacher_logits = _all_logits(teacher, images, batch_size, "teacher")
    student_logits = _all_logits(student, images, batch_size, "student")
    if teacher_logits.shape != student_logits.shape:
        raise InputError(
            f"The teacher answered with shape {teacher_logits.shape} and the student with "
            f"{student_logits.shape}; expected the same classes from both."
        )
    log_p, log_q = log_softmax(teacher_logits), log_softmax(student_logits)
    result = {
        "num_images": float(len(images)),
        "agreement": float((log_p.argmax(axis=1) == log_q.argmax(axis=1)).mean()),
        "predictive_kl": float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean()),
    }
    if labels is None:
        return result
    labels = np.asarray(labels)
    for name, scores in (("teacher", log_p), ("student", log_q)):
        probabilities = np.exp(scores)
        # The likelihood comes first: it refuses labels that fit neither images nor classes.
        result[f"{name}_nll"] = negative_log_likelihood(scores, labels)
        result[f"{name}_accuracy"] = float((scores.argmax(axis=1) == labels).mean())
        result[f"{name}_ece"] = expected_calibration_error(probabilities, labels)
        result[f"{name}_brier"] = brier_score(probabilities, labels)
    return result


def as_logits_function(model: Any) -> Callable[[Any], Any]:
    """Whatever answers with class scores, as a function from images to logits `(N, K)`.

    A Keras model is seen from its logits, also when it ends in softmax. Any other callable, a
    `Teacher` or a `LiteRTModel` among them, is taken at its word: it gives logits.

    Raises:
        InputError: If `model` is not callable.
    """
    if isinstance(model, keras.Model):
        view = logits_view(model).model
        return tf.function(lambda images: view(images, training=False))
    if not callable(model):
        raise InputError(
            f"A {type(model).__name__} was received as a model; expected a Keras model, a "
            "LiteRTModel, or a function from images to logits."
        )
    return model


def _all_logits(model: Any, images: np.ndarray, batch_size: int, role: str) -> np.ndarray:
    answer = as_logits_function(model)
    starts = range(0, len(images), batch_size)
    try:
        batches = [np.asarray(answer(images[i : i + batch_size]), np.float64) for i in starts]
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        # A Keras model counts the batch among its sizes, a Teacher and a LiteRTModel do not.
        expected = tuple(getattr(model, "input_shape", None) or ())
        expected = expected[1:] if isinstance(model, keras.Model) else expected
        if isinstance(error, InputError) or expected in ((), images.shape[1:]):
            raise
        raise InputError(
            f"Images of shape {images.shape[1:]} were received, but the {role} takes "
            f"{expected}; load them at the size that the models were built for."
        ) from error
    logits = np.concatenate(batches)
    if logits.ndim != 2 or len(logits) != len(images):
        raise InputError(
            f"The {role} answered {len(images)} images with an array of shape {logits.shape}; "
            "expected one row of logits for each image."
        )
    if not np.isfinite(logits).all():
        raise InputError(
            f"The {role} answered with NaN or infinite logits; expected a trained model, so check "
            "its weights and the pixel range of the images."
        )
    return logits
