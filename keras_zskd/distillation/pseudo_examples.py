"""Pseudo-examples (Kimura et al., BMVC 2018): interpolated between labeled images and updated."""

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from keras_zskd.core.input_range import from_unit, to_unit
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.inputs.source import Arrays
from keras_zskd.models.teacher import Teacher

# Logit of the labeled class, which leaves no probability for the others.
_SURE = 40.0
_ADAM = (0.9, 0.999, 1e-7)


def interpolated(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Interpolate between random pairs of images: `(count, *input_shape)`."""
    random = np.random.default_rng(seed)
    one, other = random.integers(0, len(images), (2, count))
    share = random.random((count,) + (1,) * (images.ndim - 1), np.float32)
    return share * images[one] + (1.0 - share) * images[other]


class Reference(Protocol):
    """The predictions `g` that pseudo-examples are labeled with."""

    def __call__(self, x: Any) -> Any:
        """Return logits `(N, K)` of inputs `(N, *input_shape)`; differentiable."""
        ...

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return logits `(N, K)` and the uncertainty `sigma` `(N,)` of the predictions."""
        ...


class TeacherReference:
    """The teacher as the reference; `sigma` is the entropy of its prediction.

    Args:
        teacher: The teacher.
    """

    def __init__(self, teacher: Teacher):
        self._teacher = teacher

    def __call__(self, x: Any) -> Any:
        """See `Reference`."""
        return self._teacher(x)

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Reference.predict`."""
        logits = self._teacher.model.predict(images, batch_size=512, verbose=0)
        return logits, entropy(logits)


def entropy(logits: Any) -> np.ndarray:
    """Compute the entropy `(N,)` of the predictions, in nats, from logits `(N, K)`."""
    p = np.asarray(tf.nn.softmax(logits))
    return np.asarray(-np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1))


def fidelity_weight(sigma: np.ndarray, fidelity: float, fidelity_mean: float) -> np.ndarray:
    """Compute `fidelity exp(-log(fidelity / fidelity_mean) sigma / mean sigma)`, `(N,)`.

    Args:
        sigma: Uncertainty of the reference `(N,)`.
        fidelity: Weight where `sigma` is 0.
        fidelity_mean: Weight where `sigma` is its mean.
    """
    return fidelity * np.exp(-np.log(fidelity / fidelity_mean) * sigma / max(sigma.mean(), 1e-30))


def labeled(images: np.ndarray, labels: np.ndarray, teacher: Teacher, weight: float) -> Arrays:
    """Real images with one-hot targets, so that the divergence is the cross-entropy."""
    sure = _SURE * np.eye(teacher.num_classes, dtype=np.float32)[labels]
    weights = np.full(len(labels), weight, np.float32)
    return Arrays(({"image": images, "logits": sure}, labels, weights))


def answered(
    images: np.ndarray, reference: Reference, fidelity: float, fidelity_mean: float, share: float
) -> Arrays:
    """Pseudo-examples with the reference's logits, and fidelity weights divided by `share`."""
    logits, sigma = reference.predict(images)
    weights = fidelity_weight(sigma, fidelity, fidelity_mean) / share
    inputs = {"image": images, "logits": logits}
    return Arrays((inputs, logits.argmax(-1), weights.astype(np.float32)))


def moved_uphill(
    images: np.ndarray,
    reference: Reference,
    distiller: Distiller,
    moves: int,
    learning_rate: float,
) -> np.ndarray:
    """Update `x <- x + eps grad_x KL(g(x), f(x))` with Adam, within the teacher's range.

    Args:
        images: `(N, *input_shape)`.
        reference: The reference `g`.
        distiller: Distiller with the student `f`.
        moves: Number of Adam steps.
        learning_rate: Learning rate of Adam, on pixels scaled to [0, 1].
    """
    student = distiller.student_logits
    input_range = distiller.teacher.input_range
    beta1, beta2, epsilon = _ADAM

    # Adam on tensors, because an optimizer cannot update variables outside of a replica context.
    @tf.function(autograph=False)
    def step(pixels: Any, mean: Any, variance: Any, t: Any) -> tuple[Any, Any, Any]:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            shown = from_unit(pixels, input_range)
            divergence = distillation_loss(reference(shown), student(shown, training=False))
            loss = -tf.reduce_sum(divergence)
        gradient = tape.gradient(loss, pixels)
        mean = beta1 * mean + (1.0 - beta1) * gradient
        variance = beta2 * variance + (1.0 - beta2) * tf.square(gradient)
        rate = learning_rate * tf.sqrt(1.0 - beta2**t) / (1.0 - beta1**t)
        pixels -= rate * mean / (tf.sqrt(variance) + epsilon)
        return tf.clip_by_value(pixels, 0.0, 1.0), mean, variance

    pixels = tf.constant(to_unit(images, input_range), tf.float32)
    mean = variance = tf.zeros_like(pixels)
    for number in range(moves):
        pixels, mean, variance = step(pixels, mean, variance, tf.constant(number + 1.0))
    return np.asarray(from_unit(pixels, input_range), np.float32)
