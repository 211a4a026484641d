"""Losses of distillation: per example first, reduced last, so weights and replicas come easily."""

from typing import Any

import tensorflow as tf

from keras_zskd.core.errors import InputError


def distillation_loss(teacher_logits: Any, student_logits: Any, temperature: float = 1.0) -> Any:
    """Kullback-Leibler divergence of the softened answers, scaled by the squared temperature.

    `tau^2 * sum_k p_k (log p_k - log q_k)` with `p = softmax(t / tau)`, `q = softmax(s / tau)`
    (Hinton et al., 2015; paper, equation 1). It differs from the paper's cross-entropy by the entropy
    of `p`, which the student cannot change: the gradient is the same, and 0 means that the student
    says what the teacher says. `tau^2` keeps the gradient's scale when `tau` changes.

    Args:
        teacher_logits: `(N, K)`.
        student_logits: `(N, K)`.
        temperature: `tau`, positive.

    Returns:
        `(N,)` float32, 0 or more, in nat.

    Example:
        >>> float(distillation_loss([[2.0, 0.0]], [[2.0, 0.0]], temperature=4.0)[0])
        0.0
    """
    teacher = tf.nn.log_softmax(tf.cast(teacher_logits, tf.float32) / temperature)
    student = tf.nn.log_softmax(tf.cast(student_logits, tf.float32) / temperature)
    divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * divergence


def hard_label_loss(labels: Any, student_logits: Any) -> Any:
    """Cross-entropy with integer labels: the term that `lambda` weighs (paper, equation 1).

    Args:
        labels: `(N,)` or `(N, 1)` integers in `[0, K)`.
        student_logits: `(N, K)`.

    Returns:
        `(N,)` float32, in nat.

    Raises:
        InputError: If the labels are one-hot.
    """
    logits = tf.cast(student_logits, tf.float32)
    labels = tf.convert_to_tensor(labels)
    if len(labels.shape) > 1 and labels.shape[-1] != 1:
        raise InputError(
            f"Labels of shape {tuple(labels.shape)} were received; expected integers (N,), so take "
            "the argmax of one-hot labels."
        )
    labels = tf.reshape(tf.cast(labels, tf.int64), (-1,))
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
