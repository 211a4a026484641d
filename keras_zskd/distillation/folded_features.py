"""`FoldedFeatures`: a hint for a student whose channels are folded from its teacher's."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError

# Added to the variance of the teacher's features, which are 0 if a layer is dead.
_EPSILON = 1e-8


@keras.saving.register_keras_serializable(package="keras_zskd")
class FoldedFeatures(keras.distillation.FeatureDistillation):
    """Squared error of a student's features, relative to the variance of the teacher's.

    `mean((teacher . P - student)^2) / var(teacher . P)` over positions and channels, a hint (Romero
    et al., "FitNets", 2015) without a trained regressor: column `k` of `P` contains the shares of
    the teacher's channels in channel `k` of the student, which folding determines.

    Args:
        teacher_layer_name: Layer of the teacher, with features `(B, ..., N)`.
        student_layer_name: Layer of the student, with features `(B, ..., K)`.
        channels: `P` `(N, K)`.
    """

    def __init__(self, teacher_layer_name: str, student_layer_name: str, channels: Any):
        super().__init__(self.relative_error, teacher_layer_name, student_layer_name)
        self.channels = np.asarray(channels, np.float32)

    def relative_error(self, teacher: Any, student: Any) -> Any:
        """Compute the error `(B, ...)` at each position from the features of a batch."""
        folded = tf.stop_gradient(tf.tensordot(teacher, self.channels, 1))
        # One variance for all channels, so that those with little variance count little.
        mean = tf.reduce_mean(folded, axis=range(len(folded.shape) - 1))
        variance = tf.reduce_mean((folded - mean) ** 2)
        return tf.reduce_mean((folded - student) ** 2, axis=-1) / (variance + _EPSILON)

    def check_shapes(self, teacher: tuple[int, ...], student: tuple[int, ...]) -> None:
        """Check the shapes of the features of one input.

        Raises:
            InputError: If they are not `(..., N)` and `(..., K)`.
        """
        num_teacher, num_student = self.channels.shape
        if teacher[-1] != num_teacher or tuple(student) != (*teacher[:-1], num_student):
            raise InputError(
                "`channels` must have shape (N, K) for the teacher's N and the student's K "
                f"channels. Received: {self.channels.shape} for layers {self.teacher_layer_name!r} "
                f"of shape {tuple(teacher)} and {self.student_layer_name!r} of shape "
                f"{tuple(student)}. Use those of `aligned_layers`."
            )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments as JSON types."""
        return {
            "teacher_layer_name": self.teacher_layer_name,
            "student_layer_name": self.student_layer_name,
            "channels": self.channels.tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FoldedFeatures":
        """Create the loss from the result of `get_config`."""
        return cls(**config)
