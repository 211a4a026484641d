"""Targets: the soft label `y` that the teacher should predict for an impression."""

from typing import Any

import keras
import numpy as np

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import invalid
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.teacher import Teacher

_SALT = 1
CONCENTRATION_EPSILON = 1e-4
# Similarities are in [-1, 1]; a spread below float32 rounding is not a difference between classes.
_ROUNDING = 1e-6


def concentration(similarity: np.ndarray) -> np.ndarray:
    """Concentrations `alpha^k`: each row of the similarity, min-max normalized.

    The class itself gets 1, and the least similar class 0. If the templates of all classes are
    parallel, a row has no differences and gets 1 everywhere: all classes are as similar as the
    class itself.

    The released code normalizes a second time after scaling by beta, which undoes the scale. This
    function follows the paper: `beta * alpha^k`, so that both scales have an effect.

    Args:
        similarity: `(K, K)` from `class_similarity`.

    Returns:
        `(K, K)`, rows in [0, 1].
    """
    low = similarity.min(axis=1, keepdims=True)
    spread = similarity.max(axis=1, keepdims=True) - low
    flat = spread < _ROUNDING
    return np.asarray(np.where(flat, 1.0, (similarity - low) / np.where(flat, 1.0, spread)))


def peaked(labels: np.ndarray, confidence: Any, num_classes: int) -> np.ndarray:
    """Soft labels `(N, K)`: `confidence`, scalar or `(N, 1)`, for the class; the rest is shared."""
    rest = (1.0 - confidence) / (num_classes - 1)
    return np.where(np.eye(num_classes, dtype=bool)[labels], confidence, rest)


class Targets(Configurable):
    """Base class of the sources of soft labels.

    Impression `i` is conditioned on class `i mod K`, so every prefix of a transfer set is balanced.
    A subclass overrides `prepare` and `draw`.
    """

    def prepare(self, teacher: Teacher) -> Any:
        """Compute what `draw` needs of the teacher, once."""
        return None

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """Draw targets `(N, K)` of the impressions `indices` of classes `labels`, both `(N,)`.

        They are probabilities: of the classes, or of each label separately for a multi-label
        teacher.
        """
        raise NotImplementedError

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw targets `(N, K)` float32 and conditioning classes `(N,)` of impressions.

        Args:
            teacher: The teacher.
            seed: Seed of the run.
            indices: `(N,)` integers, the indices of the impressions.
            prepared: Result of `prepare` for this teacher. By default, `prepare` is called.
        """
        prepared = self.prepare(teacher) if prepared is None else prepared
        indices = np.asarray(indices)
        labels = indices % teacher.num_classes
        targets = self.draw(prepared, labels, indices, seed, teacher.num_classes)
        return np.asarray(targets, np.float32), labels


@keras.saving.register_keras_serializable(package="keras_zskd")
class OneHotTargets(Targets):
    """Targets with a fixed confidence: class impressions (Mopuri et al., ECCV 2018).

    Args:
        confidence: Probability of the conditioning class, in (0, 1]; the other classes share the
            rest. 1.0 gives one-hot targets.
    """

    def __init__(self, confidence: float = 1.0):
        if not 0.0 < confidence <= 1.0:
            raise invalid("confidence", "be in (0, 1]", confidence)
        self.confidence = confidence

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """See `Targets.draw`."""
        return peaked(labels, self.confidence, num_classes)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"confidence": self.confidence}


@keras.saving.register_keras_serializable(package="keras_zskd")
class DirichletTargets(Targets):
    """Soft labels that model the teacher's predictions: data impressions (Nayak et al., ICML 2019).

    `y ~ Dir(K, beta * alpha^k + epsilon)` with the concentrations of class k from the similarity of
    the class templates (paper, section 3.2). For a multi-label teacher, each label `j` has its own
    Dirichlet distribution over present and absent, with the concentrations `beta * c` and
    `beta * (1 - c)` for `c = max(0, C(k, j))`. Labels with similar templates therefore tend to be
    present together.

    A Dirichlet distribution needs positive parameters, so `epsilon = 0.0001` is added, the value of the
    released code; the paper gives none. It is added after scaling, so the least similar class has the
    same concentration at every beta.

    Args:
        scales: The values of beta, each positive. Impressions alternate between them, class by
            class, so each scale gets an equal share. Small scales give confident labels, large ones
            mixed labels.

    Example:
        >>> DirichletTargets(scales=(1.0, 0.1)).get_config()
        {'scales': [1.0, 0.1]}
    """

    def __init__(self, scales: tuple[float, ...] = (1.0, 0.1)):
        if not scales or any(not scale > 0 for scale in scales):
            raise invalid("scales", "be one or more positive values of beta", scales)
        self.scales = tuple(float(scale) for scale in scales)

    def prepare(self, teacher: Teacher) -> np.ndarray:
        """Return the concentrations `(K, K)`, or `(K, K, 2)` of a multi-label teacher."""
        similarity = class_similarity(teacher.templates)
        if not teacher.is_multi_label:
            return concentration(similarity)
        present = np.maximum(similarity, 0.0)
        return np.stack([1.0 - present, present], axis=-1)

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """See `Targets.draw`."""
        from scipy.special import softmax

        beta = np.array(self.scales)[(indices // num_classes) % len(self.scales)]
        shape = (len(indices), *prepared.shape[1:])
        concentrations = beta[:, None] * prepared[labels].reshape(len(indices), -1)
        concentrations += CONCENTRATION_EPSILON
        log_gammas = randomness.log_gammas(seed, _SALT, indices, concentrations).reshape(shape)
        # A softmax of the logarithms normalizes without leaving log space.
        drawn = np.asarray(softmax(log_gammas, axis=-1))
        return drawn if drawn.ndim == 2 else drawn[..., 1]  # P(present).

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"scales": list(self.scales)}
