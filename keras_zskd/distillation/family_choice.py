"""What a teacher says of families of procedural pictures, and the mixture of them that suits it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.inputs.procedural_pictures import ProceduralPictures, families_of
from keras_zskd.models.teacher import Teacher

_BATCH_SIZE = 256
# Below this share a family is left out: drawing it would have to be compiled.
_LEAST_SHARE = 0.03


@dataclasses.dataclass(frozen=True)
class FamilyRating:
    """What the teacher says of one family.

    Attributes:
        mean_prediction: `(K,)`, the mean of its predictions.
        mean_entropy: Mean entropy of a prediction, in nat.
        distance: Mean over batch normalization layers and channels of the KL divergence, in nat, of
            the moving statistics from those of the family, as normal distributions; 0 for a teacher
            without such layers.
    """

    mean_prediction: np.ndarray
    mean_entropy: float
    distance: float

    @property
    def mutual_information(self) -> float:
        """Of picture and predicted class, in nat: high for confident, balanced predictions."""
        return entropy(self.mean_prediction) - self.mean_entropy

    @property
    def score(self) -> float:
        """Mutual information less the distance: what a family is worth alone."""
        return self.mutual_information - self.distance


def rate_families(teacher: Teacher, count: int = 512, seed: int = 0) -> dict[str, FamilyRating]:
    """Ask the teacher about `count` pictures of each family; forward passes only."""
    ask = _question(teacher)
    low, high = teacher.input_range
    ratings = {}
    for name in families_of(teacher.input_shape):
        pictures = ProceduralPictures(teacher.input_shape, shares={name: 1.0})
        pixels = low + (high - low) * pictures.keyed(seed, range(count))
        answers = [ask(pixels[i : i + _BATCH_SIZE]) for i in range(0, count, _BATCH_SIZE)]
        predictions = np.concatenate([np.asarray(predicted) for predicted, _ in answers])
        ratings[name] = FamilyRating(
            predictions.mean(axis=0),
            float(entropy(predictions).mean()),
            _distance(teacher, [moments for _, moments in answers]),
        )
    return ratings


def choose_shares(ratings: Mapping[str, FamilyRating], evenness: float = 0.3) -> dict[str, float]:
    """The mixture of greatest mutual information, less distance, plus `evenness` times its entropy.

    The mutual information of a mixture grows where its families fill each other's rare classes, so the
    mixture is balanced by drawing more of what is rare. It is concave in the shares; the iteration is
    that of Blahut and Arimoto (1972) for the capacity of a channel, with families as its inputs.

    Args:
        ratings: By name.
        evenness: In nat, above 0; at 0 the shares would be those of few families.

    Returns:
        Shares by name that add up to 1; families with a tiny share are left out.
    """
    predictions = np.stack([rating.mean_prediction for rating in ratings.values()])
    fixed = np.array([rating.mean_entropy + rating.distance for rating in ratings.values()])
    shares = np.full(len(ratings), 1.0 / len(ratings))
    for _ in range(200):
        gains = -(predictions * np.log(np.maximum(shares @ predictions, 1e-12))).sum(axis=1) - fixed
        target = np.exp((gains - gains.max()) / evenness)
        shares = np.sqrt(shares * target / target.sum())  # Half a step: it would oscillate.
        shares /= shares.sum()
    shares = np.where(shares < _LEAST_SHARE, 0.0, shares)
    shares /= shares.sum()
    return {name: float(s) for name, s in zip(ratings, shares, strict=True) if s > 0}


def entropy(probabilities: Any) -> Any:
    """Of the last axis, in nat."""
    return -(probabilities * np.log(np.maximum(probabilities, 1e-12))).sum(axis=-1)


def _question(teacher: Teacher) -> Any:
    """A function of pictures: predictions, and moments of the inputs of batch normalizations."""
    tapped = teacher.tapped([teacher.model.outputs[0], *teacher.batch_norm_inputs])

    @tf.function(autograph=False)
    def ask(pictures: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        logits, *taps = tf.nest.flatten(tapped(pictures, training=False))
        moments = []
        for layer, tap in zip(teacher.batch_norms, taps, strict=True):
            axes = [i for i in range(len(tap.shape)) if i != layer.axis % len(tap.shape)]
            moments.append((tf.reduce_mean(tap, axes), tf.reduce_mean(tap**2, axes)))
        return tf.nn.softmax(logits), moments

    return ask


def _distance(teacher: Teacher, batches: list[list[tuple[Any, Any]]]) -> float:
    """See `FamilyRating.distance`; of the moments of batches of one size."""
    divergences = []
    for number, layer in enumerate(teacher.batch_norms):
        mean, square = np.mean([np.asarray(moments[number]) for moments in batches], axis=0)
        variance = np.maximum(square - mean**2, 0.0) + layer.epsilon
        stored = np.asarray(layer.moving_variance) + layer.epsilon
        ratio, shift = variance / stored, (mean - np.asarray(layer.moving_mean)) ** 2 / stored
        divergences.append(np.mean(0.5 * (ratio - 1.0 - np.log(ratio) + shift)))
    return float(np.mean(divergences)) if divergences else 0.0
