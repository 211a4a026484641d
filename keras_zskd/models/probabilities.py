"""Models that end in probabilities, although none of their layers shows it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Number of random inputs that tell probabilities from logits.
NUM_TRIED = 64
# Smallest probability whose logarithm has a gradient in float32.
_LEAST = 1e-30
# The first few show that most models do not end in probabilities.
_NUM_FIRST = 4
# Logits that do not depend on the inputs may sum to 1 by chance.
_LEAST_CHANGE = 1e-6


@keras.saving.register_keras_serializable(package="keras_zskd")
class LogitsOfProbabilities(keras.layers.Layer):
    """Computes logits from probabilities `p` `(N, K)`.

    Args:
        output_of: The activation that `p` is the output of: "softmax", for logits `log p`, or
            "sigmoid", for logits `log(p / (1 - p))`.
    """

    def __init__(self, output_of: str = "softmax", **kwargs: Any):
        super().__init__(**kwargs)
        self.output_of = output_of

    def call(self, probabilities: Any) -> Any:
        """Return logits `(N, K)` whose softmax or sigmoid is `probabilities`."""
        logits = keras.ops.log(keras.ops.maximum(probabilities, _LEAST))
        if self.output_of == "sigmoid":
            # A probability that float32 rounds to 1 is within 2**-25 of it.
            logits -= keras.ops.log(keras.ops.maximum(1.0 - probabilities, 2.0**-25))
        return logits

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer.get_config`."""
        return {**super().get_config(), "output_of": self.output_of}


def activation_of(scores: np.ndarray, tolerance: float = 1e-3) -> str | None:
    """Return the activation that `scores` are the output of, or None if they are logits.

    Args:
        scores: Outputs `(N, K)` for N inputs.
        tolerance: Largest distance of the sum of K probabilities from 1.

    Returns:
        "softmax", "sigmoid" or None. Several sigmoids are positive for every input, unlike ReLUs.
    """
    if not ((scores >= 0) & (scores <= 1 + tolerance)).all():
        return None
    is_one = np.allclose(scores.sum(axis=-1), 1.0, rtol=0.0, atol=tolerance)
    if is_one and scores.shape[-1] > 1:
        return "softmax"
    is_sigmoid = (scores <= 1).all() and (scores.shape[-1] == 1 or (scores > 0).all())
    return "sigmoid" if is_sigmoid else None


def hidden_activation(model: keras.Model) -> str | None:
    """Return the activation that the outputs `(N, K)`, `K > 1`, for random inputs are those of.

    This finds the average of several softmax or sigmoid models, a softmax in a wrapper such as
    `TimeDistributed`, and one in the code of a custom layer. One output in [0, 1] is not enough to
    tell a probability from a logit.

    Args:
        model: A model with one input and one output, without a Dense layer or another known head at
            its end.

    Returns:
        "softmax", "sigmoid", or None for logits.
    """
    shape, classes = model.inputs[0].shape[1:], model.outputs[0].shape[-1]
    if None in shape or classes is None or classes < 2:
        return None
    random = np.random.default_rng(0)
    # The range of the inputs is not known yet.
    scale = 10 ** random.uniform(-1, 1, (NUM_TRIED, *(1 for _ in shape)))
    tried = (scale * random.uniform(-1, 1, (NUM_TRIED, *shape))).astype("float32")
    # Half precision rounds each probability.
    tolerance = 1e-4 if model.compute_dtype == "float32" else 1e-2
    found: list[np.ndarray] = []
    for part in np.split(tried, NUM_TRIED // _NUM_FIRST):
        with tf.init_scope():  # Also works while a tf.function is traced.
            found.append(np.asarray(tf.cast(model(part, training=False), tf.float32)))
        if activation_of(found[-1], tolerance) is None:
            return None
    scores = np.concatenate(found)
    varies = np.ptp(scores, axis=0).max() > _LEAST_CHANGE
    return activation_of(scores, tolerance) if varies else None
