"""`LoweredModel`: a model whose training on labels runs in the form of `Lowered`."""

from typing import Any

import keras

from keras_zskd.core.keras_internals import policy_for_training
from keras_zskd.core.processor import has_gpu
from keras_zskd.models.arithmetic import UPDATE
from keras_zskd.models.lowering.lowered import Lowered


class LoweredModel(keras.Model):
    """A flat Functional model with faster, equivalent training: `compile` and `fit` as in Keras.

    It has the layers and weights of the model, so training it trains the model. Without a GPU, the
    default is to train without XLA, which is slow at convolutions and at batch normalization.

    Args:
        model: Flat Functional model with one input and one output.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> lowered = LoweredModel(model)
        >>> lowered.compile("sgd", "mse")
        >>> history = lowered.fit(keras.ops.ones((8, 4)), keras.ops.ones((8, 2)), verbose=0)
    """

    def __init__(self, model: keras.Model):
        # Not the policy of the model: under a float16 policy, the weights that `Lowered` reads from
        # the layers would already be in float16, also those of layers in float32.
        super().__init__(dtype="float32")
        self.model = model
        self._lowered = {training: Lowered(model, training=training) for training in (False, True)}
        self.built = True

    def compile(self, optimizer: Any = "rmsprop", *args: Any, **options: Any) -> None:
        """Configure the training, as in Keras; the loss of a model in float16 is scaled."""
        optimizer = keras.optimizers.get(optimizer)
        if policy_for_training(self.model) == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        if not has_gpu():
            options.setdefault("jit_compile", False)
        super().compile(optimizer, *args, **options)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return the output of the model."""
        return self._lowered[bool(training)](x)[0]

    def passes(self, batch: Any) -> list[tuple[keras.Model, float]]:
        """Return the forward passes of the model for one example of a training step."""
        del batch
        return [(self.model, UPDATE)]
