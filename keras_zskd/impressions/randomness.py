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


def per_impression(
    draw: Callable[[Any], Any], seed: Any, salt: int, indices: Any, signature: Any
) -> Any:
    """Stack `draw(key)` over the impressions.

    Args:
        draw: From a key `(2,)` to a tensor (or a structure of them) for one impression.
        seed: Seed of the run.
        salt: Tells apart the uses of one seed.
        indices: `(N,)` integers, the impressions.
        signature: `tf.TensorSpec` (or a structure of them) of what `draw` returns.

    Returns:
        What `draw` returns, stacked along a new first axis of size N.
    """
    return tf.map_fn(
        lambda index: draw(key(seed, salt, index)), indices, fn_output_signature=signature
    )
