"""What the teacher should say about an impression: the soft label `y` it is optimised toward."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.configurable import Configurable
from keras_zskd.errors import InputError
from keras_zskd.impressions import randomness
from keras_zskd.teacher import Teacher

_SALT = 1
CONCENTRATION_EPSILON = 1e-4


def class_similarity(templates: np.ndarray) -> np.ndarray:
    """Cosine similarity of the class templates.

    `C(i, j) = w_i . w_j / (|w_i| |w_j|)` (paper, equation 2; the bias is not used).

    Args:
        templates: `(D, K)`, one template a column.

    Returns:
        `(K, K)` in [-1, 1], ones on the diagonal.
    """
    unit = templates / np.linalg.norm(templates, axis=0, keepdims=True)
    return np.asarray(unit.T @ unit)


def concentration(similarity: np.ndarray) -> np.ndarray:
    """Concentrations `alpha^k`: each row of the similarity, min-max normalised.

    The class itself gets 1, the least similar class 0; `CONCENTRATION_EPSILON` is added because a
    Dirichlet distribution needs positive parameters (the value of the released code; the paper
    names none). Where the released code normalises a second time after scaling by beta, which undoes
    the scale, we follow the paper: `beta * alpha^k`, both scales in effect.

    Args:
        similarity: `(K, K)` from `class_similarity`.

    Returns:
        `(K, K)`, rows in (0, 1].
    """
    low = similarity.min(axis=1, keepdims=True)
    high = similarity.max(axis=1, keepdims=True)
    return np.asarray((similarity - low) / (high - low) + CONCENTRATION_EPSILON)


def sample_dirichlet(concentrations: Any, key: Any) -> Any:
    """One draw from a Dirichlet distribution, safe for concentrations far below 1.

    A gamma variate of shape `a` well below 1 underflows float32. `Gamma(a + 1) * U^(1/a)` is
    distributed as `Gamma(a)`, and its logarithm does not underflow; the softmax of the logarithms
    normalises without leaving log space.

    Args:
        concentrations: `(K,)` positive.
        key: Stateless key `(2,)`.

    Returns:
        `(K,)` float32 that sums to 1.
    """
    a = tf.cast(concentrations, tf.float64)
    gamma_key, uniform_key = tf.unstack(tf.random.experimental.stateless_split(key, 2))
    gamma = tf.random.stateless_gamma(tf.shape(a), gamma_key, a + 1.0, dtype=tf.float64)
    uniform = tf.random.stateless_uniform(
        tf.shape(a), uniform_key, minval=1e-300, maxval=1.0, dtype=tf.float64
    )
    return tf.cast(tf.nn.softmax(tf.math.log(gamma) + tf.math.log(uniform) / a), tf.float32)


class Targets(Configurable):
    """Base class: which soft label each impression is optimised toward.

    Impression `i` is conditioned on class `i mod K`, so any prefix of a transfer set is balanced.
    A subclass overrides `prepare` and `draw`.
    """

    def prepare(self, teacher: Teacher) -> Any:
        """Whatever `draw` needs of the teacher, as a constant tensor or None."""
        return None

    def draw(self, prepared: Any, label: Any, index: Any, key: Any, num_classes: int) -> Any:
        """The target `(K,)` of one impression of class `label`."""
        raise NotImplementedError

    def sample(self, teacher: Teacher, seed: Any, indices: Any) -> tuple[Any, Any]:
        """Targets `(N, K)` and conditioning classes `(N,)` of the impressions `indices`."""
        k = teacher.num_classes
        prepared = self.prepare(teacher)

        def one(index: Any) -> Any:
            key = randomness.key(seed, _SALT, index)
            return self.draw(prepared, index % k, index, key, k)

        spec = tf.TensorSpec((k,), tf.float32)
        return tf.map_fn(one, indices, fn_output_signature=spec), indices % k


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

    def draw(self, prepared: Any, label: Any, index: Any, key: Any, num_classes: int) -> Any:
        """See `Targets.draw`."""
        rest = (1.0 - self.confidence) / (num_classes - 1)
        return tf.one_hot(label, num_classes, on_value=self.confidence, off_value=rest)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"confidence": self.confidence}


@keras.saving.register_keras_serializable(package="keras_zskd")
class DirichletTargets(Targets):
    """Soft labels as the teacher might give them: data impressions (Nayak et al., ICML 2019).

    `y ~ Dir(K, beta * alpha^k)` with the concentrations of class k from the similarity of the class
    templates (paper, section 3.2).

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

    def prepare(self, teacher: Teacher) -> Any:
        """The concentrations `(K, K)` of the teacher."""
        return tf.constant(concentration(class_similarity(teacher.templates)), tf.float32)

    def draw(self, prepared: Any, label: Any, index: Any, key: Any, num_classes: int) -> Any:
        """See `Targets.draw`."""
        beta = tf.constant(self.scales)[(index // num_classes) % len(self.scales)]
        return sample_dirichlet(beta * prepared[label], key)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"scales": list(self.scales)}
