"""Metrics of fidelity: how closely the student says what the teacher says, batch after batch.

Both take the teacher's logits where other metrics take the labels. For a whole set of images at
once, with calibration and accuracy beside them, see `keras_zskd.evaluation.measures`.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.errors import InputError


@keras.saving.register_keras_serializable(package="keras_zskd")
class TeacherAgreement(keras.metrics.Mean):
    """Share of the images for which student and teacher name the same class.

    `mean_n 1[argmax_k s_nk = argmax_k t_nk]` over the logits `t`, `s` of shape `(N, K)`, in [0, 1].
    A student can be accurate and yet agree little: fidelity is another thing than accuracy.

    Args:
        name: Defaults to "teacher_agreement".
        dtype: Of the result. Defaults to the global float type.

    Example:
        >>> metric = TeacherAgreement()
        >>> metric.update_state([[2.0, 1.0], [0.0, 1.0]], [[3.0, 1.0], [1.0, 0.0]])
        >>> float(metric.result())
        0.5

    Reference:
        Stanton et al., "Does Knowledge Distillation Really Work?", NeurIPS 2021.
    """

    def __init__(self, name: str = "teacher_agreement", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(
        self, teacher_logits: Any, student_logits: Any, sample_weight: Any = None
    ) -> None:
        """Count a batch.

        Args:
            teacher_logits: `(N, K)`; probabilities rank the classes alike and do as well.
            student_logits: `(N, K)`.
            sample_weight: `(N,)` weights of the images, or None.

        Raises:
            InputError: If the two do not have one shape `(N, K)`.
        """
        teacher, student = _as_logits(teacher_logits, student_logits)
        same = tf.argmax(teacher, axis=-1) == tf.argmax(student, axis=-1)
        super().update_state(tf.cast(same, tf.float32), sample_weight=sample_weight)


@keras.saving.register_keras_serializable(package="keras_zskd")
class PredictiveKL(keras.metrics.Mean):
    """Mean divergence of the student's answers from the teacher's, in nats.

    `mean_n sum_k p_nk (log p_nk - log q_nk)`, `p = softmax(t_n)`, `q = softmax(s_n)` over the
    logits `t`, `s` of shape `(N, K)`; 0 where the student repeats the teacher, and no upper limit.
    The temperature is 1: this measures the answers as given, not as trained on.

    Args:
        name: Defaults to "predictive_kl".
        dtype: Of the result. Defaults to the global float type.

    Example:
        >>> metric = PredictiveKL()
        >>> metric.update_state([[1.0, 1.0]], [[1.0, 1.0]])
        >>> float(metric.result())
        0.0

    Reference:
        Stanton et al., "Does Knowledge Distillation Really Work?", NeurIPS 2021.
    """

    def __init__(self, name: str = "predictive_kl", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(
        self, teacher_logits: Any, student_logits: Any, sample_weight: Any = None
    ) -> None:
        """Count a batch.

        Args:
            teacher_logits: `(N, K)` logits, not probabilities.
            student_logits: `(N, K)` logits, not probabilities.
            sample_weight: `(N,)` weights of the images, or None.

        Raises:
            InputError: If the two do not have one shape `(N, K)`.
        """
        teacher, student = _as_logits(teacher_logits, student_logits)
        log_p, log_q = tf.nn.log_softmax(teacher), tf.nn.log_softmax(student)
        divergence = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)
        super().update_state(divergence, sample_weight=sample_weight)


def _as_logits(teacher_logits: Any, student_logits: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Both as float32: the logarithm of a float16 softmax is mostly rounding error."""
    teacher = tf.cast(teacher_logits, tf.float32)
    student = tf.cast(student_logits, tf.float32)
    # (N, 1) against (N, K) would broadcast, and the metric would say something about nothing.
    if teacher.shape.rank != 2 or not teacher.shape.is_compatible_with(student.shape):
        raise InputError(
            f"Teacher logits of shape {teacher.shape} and student logits of shape {student.shape} "
            "were received; expected one shape (images, classes), so compare models of one task."
        )
    return teacher, student
