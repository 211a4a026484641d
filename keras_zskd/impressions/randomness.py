"""Randomness keyed by (seed, index of the impression).

Every draw that shapes an impression comes from its own key, so impression 4,711 of seed 0 is the same
picture whatever the batch size, the number of replicas or of interruptions.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def key(seed: Any, *salts: Any) -> Any:
    """A stateless key `(2,)` int32: the seed folded with each of `salts`."""
    key = tf.stack([tf.cast(seed, tf.int32), tf.constant(0x5EED, tf.int32)])
    for salt in salts:
        key = tf.random.experimental.stateless_fold_in(key, tf.cast(salt, tf.int32))
    return key


def normals(seed: Any, salt: int, indices: Any, count: int) -> Any:
    """Standard normal numbers, `count` for each impression.

    Args:
        seed: Seed of the run.
        salt: Tells apart the uses of one seed.
        indices: `(N,)` integers, the impressions.
        count: How many for each.

    Returns:
        `(N, count)` float32.
    """
    return _each(lambda key: tf.random.stateless_normal((count,), key), seed, salt, indices)


def uniforms(seed: Any, salt: int, indices: Any, count: int) -> Any:
    """Uniform numbers in [0, 1), `count` for each impression: `(N, count)` float32."""
    return _each(lambda key: tf.random.stateless_uniform((count,), key), seed, salt, indices)


def log_gammas(seed: Any, salt: int, indices: Any, concentrations: Any) -> Any:
    """Logarithms of gamma variates, safe for concentrations far below 1.

    A gamma variate of shape `a` well below 1 underflows. `Gamma(a + 1) * U^(1/a)` is distributed as
    `Gamma(a)` (Marsaglia and Tsang, 2000), and its logarithm does not underflow.

    Args:
        seed: Seed of the run.
        salt: Tells apart the uses of one seed.
        indices: `(N,)` integers, the impressions.
        concentrations: `(N, K)` positive.

    Returns:
        `(N, K)` float64.
    """
    shape = tf.cast(concentrations, tf.float64)
    count = shape.shape[-1]

    def draw(index_and_shape: tuple[Any, Any]) -> Any:
        index, shape = index_and_shape
        gamma = tf.random.stateless_gamma(
            (count,), key(seed, salt, index, 0), shape + 1.0, dtype=tf.float64
        )
        uniform = tf.random.stateless_uniform(
            (count,), key(seed, salt, index, 1), minval=1e-300, maxval=1.0, dtype=tf.float64
        )
        return tf.stack([gamma, uniform])

    spec = tf.TensorSpec((2, count), tf.float64)
    gamma, uniform = tf.unstack(tf.map_fn(draw, (indices, shape), fn_output_signature=spec), axis=1)
    return tf.math.log(gamma) + tf.math.log(uniform) / shape


def _each(draw: Callable[[Any], Any], seed: Any, salt: int, indices: Any) -> Any:
    # TensorFlow draws from one key at a time. Only the draw itself is inside this loop; whatever is
    # made of the numbers is made for the whole batch.
    base = key(seed, salt)
    fold_in = tf.random.experimental.stateless_fold_in
    return tf.map_fn(
        lambda index: draw(fold_in(base, index)), indices, fn_output_signature=tf.float32
    )
