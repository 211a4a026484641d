"""How a teacher rates families of procedural pictures, and the mixture that suits it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from scipy.special import entr

from keras_zskd.core.input_range import from_unit
from keras_zskd.core.predictions import as_choices
from keras_zskd.inputs.procedural_pictures import (
    AT_ONCE,
    ProceduralPictures,
    at_most,
    families_of,
)
from keras_zskd.models.batch_norm_distance import distance_from_statistics
from keras_zskd.models.teacher import Teacher

# Families with a smaller share are left out: they are not worth the time to compile their drawing.
_LEAST_SHARE = 0.08


@dataclasses.dataclass(frozen=True)
class FamilyRatings:
    """A teacher's ratings of F families.

    Attributes:
        names: Names of the families, `(F,)`.
        mean_prediction: Mean predictions on each family, `(F, K)`; for a multi-label teacher
            `(F, 2 K)`, with two classes per label: absent and present.
        mean_entropy: Mean entropy of a prediction, `(F,)`, in nats; for a multi-label teacher
            summed over the labels.
        distance: `(F,)`, mean over batch normalization layers and channels of the KL divergence, in
            nats, between the moving statistics and those of the family, both as normal
            distributions; 0 for a teacher without such layers.
    """

    names: np.ndarray
    mean_prediction: np.ndarray
    mean_entropy: np.ndarray
    distance: np.ndarray

    @property
    def mutual_information(self) -> np.ndarray:
        """Mutual information of picture and predicted class, `(F,)`, in nats.

        It is high if predictions are confident and balanced over the classes. For a multi-label
        teacher it is the sum over the labels, as if they were independent.
        """
        return np.asarray(entr(self.mean_prediction).sum(axis=-1) - self.mean_entropy)

    @property
    def scores(self) -> np.ndarray:
        """Score of each family on its own, `(F,)`: mutual information minus distance."""
        return np.asarray(self.mutual_information - self.distance)

    def chosen(self, families: str) -> dict[str, float]:
        """Shares by name: those of `shares()` for "auto", or equal ones for "all" or for "a,b"."""
        if families == "auto":
            return self.shares()
        names = map(str, self.names) if families == "all" else families.split(",")
        return dict.fromkeys(names, 1.0)

    def left_out(self, shares: Mapping[str, float]) -> dict[str, float]:
        """The best family without a share, to measure on; if there is none, the same shares."""
        names = [str(name) for name in self.names[np.argsort(-self.scores)] if name not in shares]
        return {names[0]: 1.0} if names else dict(shares)

    def figures(self) -> dict[str, dict[str, float]]:
        """Figures of each family by name, for the report."""
        columns = zip(self.names, self.mutual_information, self.distance, strict=True)
        return {
            str(name): {"mutual information": float(information), "distance": float(distance)}
            for name, information, distance in columns
        }

    def shares(self, balance: float = 0.5, evenness: float = 0.3) -> dict[str, float]:
        """Compute the mixture with the highest mean score, balanced classes and many families.

        The shares maximize `w . scores + balance * H(sum_f w_f p_f) + evenness * H(w)`, with the
        entropy `H` of the mean prediction and of the shares. Classes are balanced by drawing more
        pictures of the families that show rare classes. The objective is concave. It is maximized
        by the iteration of Blahut and Arimoto (1972) for the capacity of a channel, with families
        as its inputs.

        Args:
            balance: Weight of an even class histogram, 0 or more.
            evenness: Weight of even shares, above 0; near 0, a few families get all of the mixture.

        Returns:
            Shares by name that sum to 1; families with a small share are left out.
        """
        shares = np.full(len(self.names), 1.0 / len(self.names))
        for _ in range(300):
            mixed = np.log(np.maximum(shares @ self.mean_prediction, 1e-12))
            gains = self.scores - balance * self.mean_prediction @ mixed
            target = np.exp((gains - gains.max()) / evenness)
            shares = np.sqrt(shares * target / target.sum())  # A full step would oscillate.
            shares /= shares.sum()
        shares = np.where(shares < _LEAST_SHARE, 0.0, shares)
        shares /= shares.sum()
        return {str(n): float(s) for n, s in zip(self.names, shares, strict=True) if s > 0}


def rate_families(teacher: Teacher, count: int = 512, seed: int = 0) -> FamilyRatings:
    """Rate each family by the teacher's forward passes on `count` pictures of it."""
    ask, size = _question(teacher), at_most(AT_ONCE, teacher.input_shape)
    names = list(families_of(teacher.input_shape))
    mean_predictions, entropies, distances = [], [], []
    for name in names:
        pictures = ProceduralPictures(teacher.input_shape, shares={name: 1.0})
        answers = [
            ask(from_unit(pictures.keyed(seed, range(first, first + size)), teacher.input_range))
            for first in range(0, count, size)
        ]
        predictions = np.concatenate([np.asarray(predicted) for predicted, _ in answers])
        mean_predictions.append(predictions.mean(axis=0))
        entropies.append(entr(predictions).sum(axis=-1).mean())
        distances.append(_distance(teacher, [moments for _, moments in answers]))
    return FamilyRatings(
        np.array(names), np.stack(mean_predictions), np.array(entropies), np.array(distances)
    )


def _question(teacher: Teacher) -> Any:
    """A function from pictures to predictions and moments of the batch normalization inputs."""
    tapped = teacher.tapped([teacher.model.outputs[0], *teacher.batch_norm_inputs])

    @tf.function(autograph=False)
    def ask(pictures: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        logits, *taps = tf.nest.flatten(tapped(pictures, training=False))
        moments = []
        for layer, tap in zip(teacher.batch_norms, taps, strict=True):
            axes = [i for i in range(len(tap.shape)) if i != layer.axis % len(tap.shape)]
            moments.append((tf.reduce_mean(tap, axes), tf.reduce_mean(tap**2, axes)))
        predictions = tf.nn.softmax(as_choices(logits, teacher.is_multi_label))
        if teacher.is_multi_label:
            predictions = tf.reshape(predictions, (-1, 2 * teacher.num_classes))
        return predictions, moments

    return ask


def _distance(teacher: Teacher, batches: list[list[tuple[Any, Any]]]) -> float:
    """Compute `FamilyRatings.distance` from the moments of batches of equal size."""
    divergences = []
    for number, layer in enumerate(teacher.batch_norms):
        mean, square = np.mean([np.asarray(moments[number]) for moments in batches], axis=0)
        divergences.append(distance_from_statistics(layer, mean, square - mean**2))
    return float(np.mean(divergences)) if divergences else 0.0
