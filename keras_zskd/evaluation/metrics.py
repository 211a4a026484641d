"""Metrics of the fidelity of a student to its teacher, for `compile`.

Both take the teacher's logits in place of the labels. To evaluate a whole set of images at once,
with accuracy and calibration, see `keras_zskd.evaluation.measures`.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.errors import InputError


@keras.saving.register_keras_serializable(package="keras_zskd")
class TeacherAgreement(keras.metrics.Mean):
    """Share of the images for which student and teacher predict the same class.

    `mean_n 1[argmax_k s_nk = argmax_k t_nk]` over the logits `t`, `s` of shape `(N, K)`, in [0, 1].
    Logits of labels, `(N, L, 2)` as a `Distiller` passes them, count as `N L` examples. A student
    can have high accuracy but low agreement: fidelity differs from accuracy.

    Args:
        name: Name of the metric. Defaults to "teacher_agreement".
        dtype: Dtype of the result. Defaults to the global float type.

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
        """Accumulate a batch.

        Args:
            teacher_logits: `(N, K)` logits; probabilities also work, since they rank the classes in
                the same way.
            student_logits: `(N, K)` logits.
            sample_weight: `(N,)` weights of the images, or None.

        Raises:
            InputError: If the two do not have the same shape, `(N, K)` or `(N, L, 2)`.
        """
        teacher, student = _as_logits(teacher_logits, student_logits)
        same = tf.cast(tf.argmax(teacher, axis=-1) == tf.argmax(student, axis=-1), tf.float32)
        super().update_state(_mean_of_labels(same), sample_weight=sample_weight)


@keras.saving.register_keras_serializable(package="keras_zskd")
class PredictiveKL(keras.metrics.Mean):
    """Mean divergence of the student's predictions from the teacher's, in nats.

    `mean_n sum_k p_nk (log p_nk - log q_nk)`, `p = softmax(t_n)`, `q = softmax(s_n)` over the
    logits `t`, `s` of shape `(N, K)`; 0 if the student matches the teacher, and unbounded above.
    The temperature is 1, not that of the training: this measures the actual predictions.

    Args:
        name: Name of the metric. Defaults to "predictive_kl".
        dtype: Dtype of the result. Defaults to the global float type.

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
        """Accumulate a batch.

        Args:
            teacher_logits: `(N, K)` logits, not probabilities.
            student_logits: `(N, K)` logits, not probabilities.
            sample_weight: `(N,)` weights of the images, or None.

        Raises:
            InputError: If the two do not have the same shape, `(N, K)` or `(N, L, 2)`.
        """
        teacher, student = _as_logits(teacher_logits, student_logits)
        log_p, log_q = tf.nn.log_softmax(teacher), tf.nn.log_softmax(student)
        divergence = tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1)
        super().update_state(_mean_of_labels(divergence), sample_weight=sample_weight)


def _mean_of_labels(values: Any) -> Any:
    """`(N,)` from values `(N,)`, or `(N, L)` of labels."""
    return tf.reduce_mean(values, axis=-1) if len(values.shape) > 1 else values


def _as_logits(teacher_logits: Any, student_logits: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Cast both to float32: the logarithm of a float16 softmax is mostly rounding error."""
    teacher = tf.cast(teacher_logits, tf.float32)
    student = tf.cast(student_logits, tf.float32)
    # (N, 1) and (N, K) would broadcast, and the metric would be meaningless.
    if teacher.shape.rank not in (2, 3) or not teacher.shape.is_compatible_with(student.shape):
        raise InputError(
            "`teacher_logits` and `student_logits` must have the same shape (images, classes). "
            f"Received: shapes {teacher.shape} and {student.shape}. Compare models of one task."
        )
    return teacher, student
