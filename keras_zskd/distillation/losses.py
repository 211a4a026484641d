"""Distillation losses, per example; weights and replicas are accounted for in the reduction."""

from typing import Any

import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.predictions import over_choices


def distillation_loss(teacher_logits: Any, student_logits: Any, temperature: float = 1.0) -> Any:
    """Kullback-Leibler divergence of the softened predictions, scaled by the squared temperature.

    `tau^2 * sum_k p_k (log p_k - log q_k)` with `p = softmax(t / tau)`, `q = softmax(s / tau)`
    (Hinton et al., 2015; paper, equation 1). It differs from the cross-entropy of the paper by the
    entropy of `p`, which is constant for the student. The gradient is the same, and 0 means that
    the student matches the teacher. `tau^2` keeps the scale of the gradient independent of `tau`.

    Args:
        teacher_logits: `(N, K)`, or `(N, L, 2)` for L labels, each absent or present; see
            `as_choices`. The divergences of the labels are summed.
        student_logits: The same shape.
        temperature: `tau`, positive.

    Returns:
        `(N,)` float32, 0 or more, in nats.

    Example:
        >>> float(distillation_loss([[2.0, 0.0]], [[2.0, 0.0]], temperature=4.0)[0])
        0.0
    """
    teacher = tf.nn.log_softmax(tf.cast(teacher_logits, tf.float32) / temperature)
    student = tf.nn.log_softmax(tf.cast(student_logits, tf.float32) / temperature)
    divergence = tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)
    return temperature**2 * over_choices(divergence)


def hard_label_loss(labels: Any, student_logits: Any) -> Any:
    """Cross-entropy with integer labels: the term weighted by `lambda` (paper, equation 1).

    Args:
        labels: `(N,)` or `(N, 1)` integers in `[0, K)`.
        student_logits: `(N, K)`.

    Returns:
        `(N,)` float32, in nats.

    Raises:
        InputError: If the labels are one-hot.
    """
    logits = tf.cast(student_logits, tf.float32)
    labels = tf.convert_to_tensor(labels)
    if len(labels.shape) > 1 and labels.shape[-1] != 1:
        raise InputError(
            "`labels` must be integers of shape (N,). Received: labels of shape "
            f"{tuple(labels.shape)}. Take the argmax of one-hot labels."
        )
    labels = tf.reshape(tf.cast(labels, tf.int64), (-1,))
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def label_set_loss(labels: Any, student_logits: Any) -> Any:
    """Binary cross-entropy with sets of labels, summed over the labels.

    Args:
        labels: `(N, K)`, 1 if a label is present and 0 if it is absent.
        student_logits: `(N, K)`.

    Returns:
        `(N,)` float32, in nats.
    """
    logits = tf.cast(student_logits, tf.float32)
    labels = tf.cast(labels, tf.float32)
    return over_choices(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits))
