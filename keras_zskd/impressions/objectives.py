"""Objectives of the synthesis: targets, a loss on the logits, and a stopping criterion."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.predictions import over_choices
from keras_zskd.impressions.targets import DirichletTargets, Targets, peaked
from keras_zskd.models.teacher import Teacher

_SALT = 2


class Objective(Configurable):
    """Base class of the objectives of an impression.

    Traced without AutoGraph: use `tf.cond` and `tf.where` in place of `if` on tensors.

    Attributes:
        for_labels: Whether it supports multi-label teachers, whose logits and targets `loss` and
            `is_met` get as choices `(N, K, 2)`, see `as_choices`.
        temperature: `tau` at which all reported values compare the teacher's output with the
            target.
        stops: Whether an impression may be done before it has had all its steps, see `is_met`.
    """

    for_labels = False
    temperature = 1.0
    stops = False

    def prepare(self, teacher: Teacher) -> Any:
        """Compute what `sample` needs of the teacher, once."""
        return None

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw targets `(N, K)` float32 and classes `(N,)` of the impressions `indices`.

        See `Targets.sample`.
        """
        raise NotImplementedError

    def loss(self, logits: Any, target: Any) -> Any:
        """Loss `(N,)` of the teacher's `logits` `(N, K)` for the targets `(N, K)`."""
        raise NotImplementedError

    def taps(self, teacher: Teacher) -> list[Any]:
        """Symbolic tensors of the teacher whose values are passed to `total`."""
        return []

    def aim(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> np.ndarray:
        """Draw the desired values of the taps, `(N, A)` float32; arguments as in `sample`."""
        return np.zeros((len(indices), 0), np.float32)

    def total(self, logits: Any, target: Any, taps: list[Any], aim: Any) -> Any:
        """Loss `(N,)` that is minimized. Defaults to `loss`, which ignores the taps.

        Args:
            logits: `(N, K)`.
            target: Targets `(N, K)`.
            taps: Values of the tensors that `taps` returned, with leading axis `N`.
            aim: `(N, A)` from `aim`.
        """
        del taps, aim
        return self.loss(logits, target)

    def is_met(self, logits: Any, target: Any) -> Any:
        """Whether each impression is done, `(N,)`; only called if `stops`.

        Called with the teacher's logits of each step, after the transforms. A finished impression
        keeps the pixels that gave these logits. NaN counts as done, since it never improves.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_zskd")
class MatchTargets(Objective):
    """Matches soft labels: minimizes `CE(y, softmax(f(x) / tau))` (Nayak et al., equation 4).

    For a multi-label teacher, the sum of the binary cross-entropies of its labels.

    Args:
        targets: Source of the soft labels `y`.
        temperature: `tau`, positive.
        tolerance: Gap in nats, positive, at which an impression is done: the cross-entropy minus
            the entropy of the target. None gives each impression all its steps.
    """

    for_labels = True

    def __init__(self, targets: Targets, temperature: float = 4.0, tolerance: float | None = None):
        if not temperature > 0:
            raise invalid("temperature", "be positive", temperature)
        if tolerance is not None and not tolerance > 0:
            raise invalid("tolerance", "be a positive number of nats, or None", tolerance)
        self.targets = targets
        self.temperature = float(temperature)
        self.tolerance = None if tolerance is None else float(tolerance)
        self.stops = tolerance is not None

    def prepare(self, teacher: Teacher) -> Any:
        """See `Objective.prepare`."""
        return self.targets.prepare(teacher)

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Targets.sample`."""
        return self.targets.sample(teacher, seed, indices, prepared)

    def loss(self, logits: Any, target: Any) -> Any:
        """See `Objective.loss`."""
        return over_choices(
            tf.nn.softmax_cross_entropy_with_logits(target, logits / self.temperature)
        )

    def is_met(self, logits: Any, target: Any) -> Any:
        """See `Objective.is_met`."""
        entropy = -over_choices(tf.math.xlogy(target, target))
        return _at_most(self.loss(logits, target) - entropy, self.tolerance)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        targets = keras.saving.serialize_keras_object(self.targets)
        return {
            "targets": targets,
            "temperature": self.temperature,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MatchTargets":
        """Create the object from the result of `get_config`."""
        return cls(
            **{**config, "targets": keras.saving.deserialize_keras_object(config["targets"])}
        )


@keras.saving.register_keras_serializable(package="keras_zskd")
class ClassLogit(Objective):
    """Maximizes the logit of one class, up to a given confidence.

    Maximizes the logit `f_c(x)` of class `c`, before the softmax, and stops an impression when
    `softmax(f(x))_c` at temperature 1 reaches the confidence drawn for it (class impressions,
    Mopuri, Uppala and Babu, ECCV 2018). Different confidences give different impressions.

    The text of the paper was not available. This implementation assumes confidences from
    U(0.55, 0.99), compared with the teacher's prediction in that step, after the transforms. The
    impression is stored without the transforms, so the teacher's confidence in it may be higher or
    lower.

    The target of an impression is its confidence for class `c`, with the rest shared equally by the
    other classes.

    Args:
        low: Lowest confidence, at least 0.5, so that the class is the most likely one of its
            target.
        high: Highest confidence, above `low` and at most 1; drawn from U(low, high).
    """

    stops = True

    def __init__(self, low: float = 0.55, high: float = 0.99):
        if not 0.5 <= low < high <= 1.0:
            raise InputError(
                "`low` and `high` must be confidences with 0.5 <= low < high <= 1. Received: "
                f"low={low}, high={high}. Pass the ends of the range of confidences."
            )
        self.low = float(low)
        self.high = float(high)

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Objective.sample`."""
        del prepared
        labels = np.asarray(indices) % teacher.num_classes
        share = randomness.uniforms(seed, _SALT, indices, 1)
        confidence = self.low + (self.high - self.low) * share
        return peaked(labels, confidence, teacher.num_classes).astype(np.float32), labels

    def loss(self, logits: Any, target: Any) -> Any:
        """See `Objective.loss`."""
        return -tf.gather(logits, tf.argmax(target, axis=-1), axis=-1, batch_dims=1)

    def is_met(self, logits: Any, target: Any) -> Any:
        """See `Objective.is_met`."""
        label = tf.argmax(target, axis=-1)
        reached = tf.gather(tf.nn.softmax(logits), label, axis=-1, batch_dims=1)
        return _at_most(tf.reduce_max(target, axis=-1), reached)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"low": self.low, "high": self.high}


def _at_most(value: Any, limit: Any) -> Any:
    """Whether `value <= limit`, or either is NaN."""
    # Not `~(value > limit)`: TensorFlow simplifies it to `value <= limit`, False for NaN.
    return (value <= limit) | tf.math.is_nan(value - limit)


def as_objective(
    objective: Objective | None,
    targets: Targets | None,
    temperature: float | None,
    tolerance: float | None,
) -> Objective:
    """Return the objective, or `MatchTargets` of the other arguments."""
    if objective is None:
        temperature = 4.0 if temperature is None else temperature
        return MatchTargets(targets or DirichletTargets(), temperature, tolerance)
    if (targets, temperature, tolerance) != (None, None, None):
        raise InputError(
            "`objective` must be passed without `targets`, `temperature` and `tolerance`. "
            f"Received: objective={objective!r}, targets={targets!r}, temperature={temperature!r}, "
            f"tolerance={tolerance!r}. Pass these to the objective instead."
        )
    return objective
