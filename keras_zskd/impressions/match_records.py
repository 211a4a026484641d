"""`MatchRecords`: the objective of Lopes et al., to match activations on the training data."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.impressions.activation_records import TOP, ActivationRecords
from keras_zskd.impressions.objectives import Objective
from keras_zskd.models.activations import hidden_activations, per_channel
from keras_zskd.models.teacher import Teacher

LAYERS = ("top", "all", "spectral")
_SALT = 40


class MatchRecords(Objective):
    """Matches activations drawn from recorded means and covariances.

    For an impression of class c and each layer l with D_l units, `r_l ~ N(mean_cl, covariance_cl)`
    is drawn, and the impression minimizes

    `sum_l 1 / D_l |max(r_l, 0) / tau - max(a_l(x), 0) / tau|^2`

    over the logits only (`layers="top"`) or over all recorded layers ("all") (Lopes, Fenu, Starner,
    2017). Where activations may be negative, `max` is left out unless `rectified`.

    `layers="spectral"` is our reading of the spectral records. The units of a hidden layer are the
    vertices of a graph, whose edges are weighted by the absolute correlation over the training
    data. The eigenvectors of its Laplacian `D - A` that hold the most energy of the activations are
    kept, and only the coefficients of these are compared. The logits are compared in full.

    Args:
        records: The records of the teacher.
        layers: "top", "all" or "spectral".
        temperature: `tau`, positive; the paper uses 8.
        rectified: Whether logits are compared after ReLU as well, as in the paper. A class whose
            logit is negative then gets no gradient.
        share: Share of the eigenvectors that "spectral" keeps, in (0, 1].

    The configuration holds a hash of the records. A `MatchRecords` cannot be created from it.
    """

    def __init__(
        self,
        records: ActivationRecords,
        layers: str = "all",
        temperature: float = 8.0,
        rectified: bool = False,
        share: float = 0.1,
    ):
        if layers not in LAYERS:
            raise invalid("layers", f"be one of {', '.join(LAYERS)}", layers)
        if not (temperature > 0 and 0 < share <= 1):
            raise InputError(
                "`temperature` must be positive and `share` must be in (0, 1]. Received: "
                f"temperature={temperature}, share={share}."
            )
        self.records, self.layers = records, layers
        self.temperature, self.rectified, self.share = float(temperature), rectified, float(share)
        self._names = [TOP] if layers == "top" else [*records.means]
        self._modes = {
            name: spectral_modes(*records.overall(name), self.share).astype(np.float32)
            for name in self._names
            if layers == "spectral" and name != TOP
        }

    def prepare(self, teacher: Teacher) -> dict[str, np.ndarray]:
        """Return a square root `(K, D, D)` of the covariances of each layer."""
        return {name: _roots(self.records.covariances[name]) for name in self._names}

    def taps(self, teacher: Teacher) -> list[Any]:
        """See `Objective.taps`."""
        tensors = hidden_activations(teacher.model)
        return [tensors[name] for name in self._names if name != TOP]

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Objective.sample`; targets are the softmax of the drawn logits at `temperature`."""
        logits = self._drawn(TOP, seed, indices, prepared or self.prepare(teacher))
        powers = np.exp((logits - logits.max(axis=-1, keepdims=True)) / self.temperature)
        targets = powers / powers.sum(axis=-1, keepdims=True)
        return targets.astype(np.float32), np.asarray(indices) % len(self.records.counts)

    def aim(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> np.ndarray:
        """See `Objective.aim`: the drawn activations of all layers, or their coefficients."""
        prepared = prepared or self.prepare(teacher)
        drawn = [self._seen(n, self._drawn(n, seed, indices, prepared)) for n in self._names]
        return np.concatenate([np.asarray(part) for part in drawn], axis=-1).astype(np.float32)

    def loss(self, logits: Any, target: Any) -> Any:
        """Return the cross-entropy `(N,)` at `temperature`, which is not minimized; see `total`."""
        return tf.nn.softmax_cross_entropy_with_logits(target, logits / self.temperature)

    def total(self, logits: Any, target: Any, taps: list[Any], aim: Any) -> Any:
        """See `Objective.total`."""
        del target
        loss, first = 0.0, 0
        for name, value in zip(self._names, [*taps, logits], strict=True):
            seen = self._seen(name, per_channel(value))
            wanted = aim[:, first : first + seen.shape[-1]]
            loss += tf.reduce_mean(tf.square(wanted - seen), axis=-1)
            first += seen.shape[-1]
        return loss

    def get_config(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return {
            "records": self.records.digest,
            "layers": self.layers,
            "temperature": self.temperature,
            "rectified": self.rectified,
            "share": self.share,
        }

    def _drawn(
        self, name: str, seed: int, indices: np.ndarray, roots: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Draw activations `(N, D)` of a layer."""
        labels = np.asarray(indices) % len(self.records.counts)
        means, salt = self.records.means[name], _SALT + [*self.records.means].index(name)
        normals = randomness.normals(seed, salt, indices, means.shape[-1])
        return means[labels] + np.einsum("nij,nj->ni", roots[name][labels], normals)

    def _seen(self, name: str, values: Any) -> Any:
        """Map activations `(N, D)` to the values that are compared."""
        if self.records.nonnegative[name] or (name == TOP and self.rectified):
            values = tf.nn.relu(values)
        values = tf.cast(values, tf.float32) / self.temperature
        return values @ self._modes[name] if name in self._modes else values


def spectral_modes(mean: np.ndarray, covariance: np.ndarray, share: float) -> np.ndarray:
    """Return eigenvectors `(D, R)` of the graph Laplacian with the largest energy, `R / D >= share`.

    Args:
        mean: Mean activations `(D,)`.
        covariance: Their covariance `(D, D)`. The absolute correlations are the weights of the
            edges; a unit that never changes has none.
        share: Share of the eigenvectors to keep, in (0, 1].
    """
    deviation = np.sqrt(np.diag(covariance))
    scale = np.where(deviation > 0, deviation, np.inf)
    adjacency = np.abs(covariance / np.outer(scale, scale))
    np.fill_diagonal(adjacency, 0.0)
    _, vectors = np.linalg.eigh(np.diag(adjacency.sum(axis=0)) - adjacency)
    second_moment = covariance + np.outer(mean, mean)
    energy = np.einsum("ir,ij,jr->r", vectors, second_moment, vectors)
    kept = np.sort(np.argsort(-energy, kind="stable")[: math.ceil(share * len(mean))])
    return np.asarray(vectors[:, kept])


def _roots(covariances: np.ndarray) -> np.ndarray:
    """Symmetric square roots, since a Cholesky factor fails if a unit is always off."""
    values, vectors = np.linalg.eigh(covariances.astype(np.float64))
    roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return np.asarray(roots @ np.swapaxes(vectors, 1, 2), np.float32)
