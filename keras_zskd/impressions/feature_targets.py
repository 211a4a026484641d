"""`FeatureTargets`: soft labels for features drawn from a normal distribution (Wang, AAAI 2021)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.errors import InputError
from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.impressions.priors import Prior
from keras_zskd.impressions.targets import Targets
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.teacher import Teacher

_SALT = 60
# Draws per impression, of which one is kept.
_CANDIDATES = 64


@keras.saving.register_keras_serializable(package="keras_zskd")
class FeatureTargets(Targets):
    """The teacher's predictions for features drawn from a multivariate normal distribution.

    `y = softmax((W' f + b) / tau)` with `f = max(g, 0)`, `g ~ N(0, sigma^2 R)`, the weights `W`,
    `b` of the teacher's last layer, and the correlations `R` of its penultimate features, which are
    the cosine similarities of the incoming weights of two units (Wang, AAAI 2021). Unlike Dirichlet
    targets, these are predictions that the teacher's last layer can make.

    Only the abstract of the paper was available, so the following is our reading: the mean of 0;
    the rectification; `R` from the kernel of the layer that computes the features, or from the
    templates if no kernel has that size; and the choice of a draw. Of 64 draws, the first one whose
    most likely class is the class of the impression is used; if there is none, the one with the
    largest probability of that class.

    Args:
        sigma: Standard deviation of the features before the rectification, positive.
        temperature: `tau`, positive; the same as that of the objective.
    """

    def __init__(self, sigma: float = 1.5, temperature: float = 4.0):
        if not (sigma > 0 and temperature > 0):
            raise InputError(
                "`sigma` and `temperature` must be positive. Received: "
                f"sigma={sigma}, temperature={temperature}."
            )
        self.sigma, self.temperature = float(sigma), float(temperature)

    def prepare(self, teacher: Teacher) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a root of `R` `(D, D)`, the templates `(D, K)` and the offsets `(K,)`."""
        values, vectors = np.linalg.eigh(feature_correlation(teacher))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        return root.astype(np.float32), teacher.templates, teacher.offsets

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """See `Targets.draw`."""
        root, templates, offsets = prepared
        targets = np.empty((len(indices), num_classes))
        for row, index, label in zip(targets, indices, labels, strict=True):
            normals = randomness.normals(seed, _SALT, [index], _CANDIDATES * len(root))
            drawn = normals.reshape(_CANDIDATES, len(root)) @ root.T
            features = np.maximum(self.sigma * drawn, 0.0)
            logits = (features @ templates + offsets) / self.temperature
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
            y = powers / powers.sum(axis=-1, keepdims=True)
            is_of_class = y.argmax(axis=-1) == label
            row[:] = y[is_of_class.argmax() if is_of_class.any() else y[:, label].argmax()]
        return targets

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"sigma": self.sigma, "temperature": self.temperature}


@keras.saving.register_keras_serializable(package="keras_zskd")
class StrongFeatures(Prior):
    """Favors strong features: `-mean |f|` over the penultimate features (Wang, AAAI 2021).

    It is the activation loss of DAFL (Chen et al., ICCV 2019) for each impression.
    """

    def taps(self, teacher: Teacher) -> list[Any]:
        """See `Prior.taps`."""
        return [teacher.penultimate]

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """See `Prior.penalty`."""
        features = tf.cast(taps[0], tf.float32)
        return -tf.reduce_mean(tf.abs(features), axis=list(range(1, len(features.shape))))


def feature_correlation(teacher: Teacher) -> np.ndarray:
    """Return the correlations `(D, D)` of the penultimate features, from weights alone."""
    templates = teacher.templates
    kernels = [
        np.asarray(node.operation.kernel)
        for node in nodes_of(teacher.model)
        if hasattr(node.operation, "kernel")
    ]
    # The last kernel is that of the templates.
    fitting = [k for k in kernels[:-1] if k.shape[-1] == len(templates)]
    kernel = fitting[-1] if fitting else templates.T
    return class_similarity(kernel.reshape(-1, kernel.shape[-1]))
