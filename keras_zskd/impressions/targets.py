"""What the teacher should say about an impression: the soft label `y` it is optimised toward."""

from typing import Any

import keras
import numpy as np

from keras_zskd.core import randomness
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher

_SALT = 1
CONCENTRATION_EPSILON = 1e-4
# Similarities are in [-1, 1]; a spread of float32 rounding is not a difference between classes.
_ROUNDING = 1e-6


def class_similarity(templates: np.ndarray) -> np.ndarray:
    """Cosine similarity of the class templates.

    `C(i, j) = w_i . w_j / (|w_i| |w_j|)` (paper, equation 2; the bias is not used). Where a template is
    zero, as that of a class that was pruned away, the cosine is not defined: such a class is 1 similar
    to itself and 0 to every other, like a template at right angles to all.

    Args:
        templates: `(D, K)`, one template a column.

    Returns:
        `(K, K)` in [-1, 1], ones on the diagonal.
    """
    templates = np.asarray(templates, np.float64)
    lengths = np.linalg.norm(templates, axis=0, keepdims=True)
    unit = templates / np.where(lengths > 0, lengths, 1.0)
    similarity = unit.T @ unit
    np.fill_diagonal(similarity, 1.0)
    return np.asarray(similarity)


def concentration(similarity: np.ndarray) -> np.ndarray:
    """Concentrations `alpha^k`: each row of the similarity, min-max normalized.

    The class itself gets 1, the least similar class 0. A row without differences, where the templates
    of all classes are parallel, gets 1 everywhere: all classes are as similar as the class itself.

    Where the released code normalizes a second time after scaling by beta, which undoes the scale, we
    follow the paper: `beta * alpha^k`, both scales in effect.

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
    """Soft labels `(N, K)`: `confidence`, a number or `(N, 1)`, for the class, the rest shared."""
    rest = (1.0 - confidence) / (num_classes - 1)
    return np.where(np.eye(num_classes, dtype=bool)[labels], confidence, rest)


class Targets(Configurable):
    """Base class: which soft label each impression is optimised toward.

    Impression `i` is conditioned on class `i mod K`, so any prefix of a transfer set is balanced.
    A subclass overrides `prepare` and `draw`.
    """

    def prepare(self, teacher: Teacher) -> Any:
        """Whatever `draw` needs of the teacher."""
        return None

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """The targets `(N, K)` of the impressions `indices` of classes `labels`, each `(N,)`."""
        raise NotImplementedError

    def sample(
        self, teacher: Teacher, seed: int, indices: np.ndarray, prepared: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Targets `(N, K)` float32 and conditioning classes `(N,)` of the impressions `indices`.

        Args:
            teacher: The teacher.
            seed: Of the run.
            indices: `(N,)` integers, the impressions.
            prepared: What `prepare` returned for this teacher; default: made here.
        """
        prepared = self.prepare(teacher) if prepared is None else prepared
        indices = np.asarray(indices)
        labels = indices % teacher.num_classes
        targets = self.draw(prepared, labels, indices, seed, teacher.num_classes)
        return np.asarray(targets, np.float32), labels


@keras.saving.register_keras_serializable(package="keras_zskd")
class OneHotTargets(Targets):
    """The teacher should be certain: class impressions (Mopuri et al., ECCV 2018).

    Args:
        confidence: Probability of the conditioning class; the rest is shared by the others. 1.0 is
            a one-hot target.
    """

    def __init__(self, confidence: float = 1.0):
        if not 0.0 < confidence <= 1.0:
            raise InputError(f"confidence={confidence} was received; expected a number in (0, 1].")
        self.confidence = confidence

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """See `Targets.draw`."""
        return peaked(labels, self.confidence, num_classes)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"confidence": self.confidence}


@keras.saving.register_keras_serializable(package="keras_zskd")
class DirichletTargets(Targets):
    """Soft labels as the teacher might give them: data impressions (Nayak et al., ICML 2019).

    `y ~ Dir(K, beta * alpha^k + epsilon)` with the concentrations of class k from the similarity of the
    class templates (paper, section 3.2). A Dirichlet distribution needs positive parameters, so
    `epsilon = 0.0001` is added, the value of the released code; the paper gives none. It is added after
    scaling: the least similar class has the same concentration at every beta.

    Args:
        scales: The values of beta, each positive; impressions take turns, class by class, so each
            scale gets an equal share. Small scales give confident labels, large ones mixed labels.

    Example:
        >>> DirichletTargets(scales=(1.0, 0.1)).get_config()
        {'scales': [1.0, 0.1]}
    """

    def __init__(self, scales: tuple[float, ...] = (1.0, 0.1)):
        if not scales or any(not scale > 0 for scale in scales):
            raise InputError(
                f"scales={scales} was received; expected one or more positive values of beta."
            )
        self.scales = tuple(float(scale) for scale in scales)

    def prepare(self, teacher: Teacher) -> np.ndarray:
        """The concentrations `(K, K)` of the teacher."""
        return concentration(class_similarity(teacher.templates))

    def draw(
        self, prepared: Any, labels: np.ndarray, indices: np.ndarray, seed: int, num_classes: int
    ) -> np.ndarray:
        """See `Targets.draw`."""
        beta = np.array(self.scales)[(indices // num_classes) % len(self.scales)]
        concentrations = beta[:, None] * prepared[labels] + CONCENTRATION_EPSILON
        log_gammas = randomness.log_gammas(seed, _SALT, indices, concentrations)
        # A softmax of the logarithms: normalises without leaving log space.
        powers = np.exp(log_gammas - log_gammas.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"scales": list(self.scales)}
