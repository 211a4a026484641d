"""Several classifiers as one: the mean of their probabilities."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.models.graph import typed_copy


@keras.saving.register_keras_serializable(package="keras_zskd")
class MeanOfProbabilities(keras.layers.Layer):
    """Computes logits `log(mean_m softmax(z_m))` from logits `z_m` `(N, K)` of M classifiers."""

    def call(self, logits: Any) -> Any:
        """Return `(N, K)`."""
        scores = keras.ops.stack([keras.ops.log_softmax(z) for z in logits])
        return keras.ops.logsumexp(scores, axis=0) - keras.ops.log(float(len(logits)))


def mean_of_models(members: Sequence[keras.Model]) -> keras.Model:
    """Return a model that copies several classifiers and averages their probabilities.

    Args:
        members: Models from the same inputs `(N, ...)` to logits `(N, K)`. They are not changed.

    Raises:
        InputError: If their shapes differ.
    """
    for member in members:
        if (member.input_shape, member.output_shape) != (
            members[0].input_shape,
            members[0].output_shape,
        ):
            raise InputError(
                "`teacher` must be models with the same input shape and classes. Received: "
                f"{member.name!r} from {member.input_shape[1:]} to {member.output_shape[-1]} classes, "
                f"and {members[0].name!r} from {members[0].input_shape[1:]} to "
                f"{members[0].output_shape[-1]} classes."
            )
    pixels = keras.Input(members[0].input_shape[1:])
    copies = [typed_copy(m, prefix=f"teacher{i}_") for i, m in enumerate(members, 1)]
    named = [
        keras.Model(m.inputs[0], m.outputs[0], name=f"teacher{i}") for i, m in enumerate(copies, 1)
    ]
    logits = [member(pixels) for member in named]
    return keras.Model(pixels, MeanOfProbabilities()(logits), name=f"mean_of_{len(members)}")
