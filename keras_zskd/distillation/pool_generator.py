"""`PoolGenerator`: trains a generator to make images of given classes."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.distillation.generator_networks import image_generator
from keras_zskd.models.batch_statistics import statistics_distance
from keras_zskd.models.teacher import Teacher

_BETA1, _BETA2, _EPSILON = 0.5, 0.999, 1e-7


class PoolGenerator:
    """Makes groups of images, each from its own noisy layer (NAYER, Tran et al., CVPR 2024).

    The image of class k in group g is `G(e_k W_g + b_g)`. `e_k` is the code of the class; `W_g` is
    a layer that starts as normal noise and makes one image of each class. For each batch of groups,
    new layers are drawn and trained together with `G` for a number of Adam steps, and the images of
    the step with the lowest loss are kept. `G` keeps its weights from batch to batch; `restart`
    draws new ones.

    NAYER computes the codes from the names of the classes with a language model. Here they are the
    class templates, standardized over the classes, which need neither data nor names (our reading).

    Args:
        teacher: Teacher with class templates.
        student: A model that returns logits, used in inference mode.
        loss: Function to a scalar from the teacher's and the student's logits `(N, K)`, the classes
            `(N,)`, the distance to the batch normalization statistics (0 without such layers), and
            the weight of the adversarial term.
        latent: Units of a noisy layer.
        filters: Filters of the first convolution of `G`, see `image_generator`.
        groups: Groups per batch; a batch has `groups * K` images.
        learning_rate: Learning rate of Adam.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: keras.Model,
        loss: Callable[[Any, Any, Any, Any, Any], Any],
        latent: int,
        filters: int,
        groups: int,
        learning_rate: float,
    ):
        self._teacher, self._student, self._loss = teacher, student, loss
        self._latent, self._filters, self._groups = latent, filters, groups
        self._learning_rate = learning_rate
        self._codes = tf.constant(class_codes(teacher.templates))
        self._labels = tf.tile(tf.range(teacher.num_classes), [groups])
        self._look = teacher.tapped([teacher.model.outputs[0], *teacher.batch_norm_inputs])
        self._generator = self._new(0)
        self._update = tf.function(self._updated, autograph=False)

    @property
    def network(self) -> keras.Model:
        """The generator `G`."""
        return self._generator

    def restart(self, seed: int) -> None:
        """Draw new weights of `G`."""
        fresh = self._new(seed)
        for variable, new in zip(self._generator.variables, fresh.variables, strict=True):
            variable.assign(new.numpy())

    def images(
        self, batches: int, steps: int, seed: int, adversarial: float
    ) -> dict[str, np.ndarray]:
        """Make `batches * groups * K` images; every K-th image shows the same class.

        Args:
            batches: Number of batches.
            steps: Adam steps for each batch.
            seed: Seed of the noisy layers.
            adversarial: Weight of the adversarial term; 0 leaves it out.
        """
        size = (self._groups, self._codes.shape[-1], self._latent)
        weights = [tf.identity(w.value) for w in self._generator.trainable_variables]
        statistics = [tf.identity(w.value) for w in self._generator.non_trainable_variables]
        found = []
        for batch in range(batches):
            kernel = tf.random.stateless_normal(size, (seed, batch))
            values = [kernel, tf.zeros((self._groups, self._latent)), *weights]
            means = variances = [tf.zeros_like(value) for value in values]
            best, lowest = None, tf.constant(np.inf)
            for step in range(steps):
                t = tf.constant(step + 1.0)
                state = (values, statistics, means, variances)
                pictures, loss, *state = self._update(*state, t, tf.constant(adversarial))
                values, statistics, means, variances = state
                if best is None or loss < lowest:
                    best, lowest = pictures, loss
            weights = values[2:]
            found.append(np.asarray(best))
        for variable, value in zip(self._generator.trainable_variables, weights, strict=True):
            variable.assign(value)
        for variable, value in zip(
            self._generator.non_trainable_variables, statistics, strict=True
        ):
            variable.assign(value)
        return {"image": np.concatenate(found)}

    def _new(self, seed: int) -> keras.Model:
        return image_generator(
            self._teacher, self._latent, self._filters, output="normalized_tanh", seed=seed
        )

    # Adam on tensors, because an optimizer cannot update variables outside of a replica context.
    def _updated(
        self, values: Any, statistics: Any, means: Any, variances: Any, t: Any, adversarial: Any
    ) -> tuple[Any, ...]:
        """Return the images, their loss, and the state after one Adam step."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            kernel, bias, *weights = values
            noise = tf.einsum("kd,gdl->gkl", self._codes, kernel) + bias[:, None]
            noise = tf.reshape(noise, (-1, self._latent))
            images, statistics = self._generator.stateless_call(
                weights, statistics, noise, training=True
            )
            seen = keras.tree.flatten(self._look(images, training=False))
            distance = tf.constant(0.0)
            if len(seen) > 1:
                distance = statistics_distance(self._teacher, seen[1:], len(self._labels))[0]
            student = tf.cast(self._student(images, training=False), tf.float32)
            logits = tf.cast(seen[0], tf.float32)
            loss = self._loss(logits, student, self._labels, distance, adversarial)
        slopes = tape.gradient(loss, values)
        means = [_BETA1 * m + (1 - _BETA1) * g for m, g in zip(means, slopes, strict=True)]
        variances = [
            _BETA2 * v + (1 - _BETA2) * tf.square(g) for v, g in zip(variances, slopes, strict=True)
        ]
        rate = self._learning_rate * tf.sqrt(1.0 - _BETA2**t) / (1.0 - _BETA1**t)
        values = [
            x - rate * m / (tf.sqrt(v) + _EPSILON)
            for x, m, v in zip(values, means, variances, strict=True)
        ]
        return images, loss, values, statistics, means, variances


def class_codes(templates: np.ndarray) -> np.ndarray:
    """Standardize class templates `(D, K)` over the classes: codes `(K, D)` float32.

    A feature with the same weight for all classes gets 0.
    """
    rows = templates.T.astype(np.float64)
    deviation = rows.std(axis=0)
    codes = (rows - rows.mean(axis=0)) / np.where(deviation > 0, deviation, np.inf)
    return np.asarray(codes, np.float32)
