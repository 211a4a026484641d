"""Priors on impressions: penalties on their pixels or activations that need no data."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.models.batch_statistics import TINY, statistics_distance
from keras_zskd.models.teacher import Teacher


class Prior(Configurable):
    """Base class of the penalties that are added to the loss of each impression.

    Traced without AutoGraph: use `tf.cond` and `tf.where` in place of `if` on tensors.

    Args:
        weight: Factor of the penalty, 0 or more.
    """

    group_size = 1
    """Number of consecutive impressions that the penalty combines."""

    is_transformed = False
    """Whether `penalty` gets the pixels after the transforms, as the teacher does."""

    networks: Sequence[keras.Model] = ()
    """Networks that `penalty` runs in addition to the teacher."""

    def __init__(self, weight: float):
        if not weight >= 0:
            raise invalid("weight", "be 0 or more", weight)
        self.weight = float(weight)

    def taps(self, teacher: Teacher) -> list[Any]:
        """Symbolic tensors of the teacher whose values are passed to `penalty`."""
        return []

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """The penalty `(N,)`, without the weight.

        Args:
            pixels: `(N, *input_shape)`, scaled to [0, 1]; see `is_transformed`.
            taps: Values of the tensors that `taps` returned, with leading axis `N`.
            teacher: The teacher.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"weight": self.weight}


@keras.saving.register_keras_serializable(package="keras_zskd")
class TotalVariation(Prior):
    """Penalizes differences of neighboring pixels: `sum |x_(i+1) - x_i|` over height and width.

    Computed per impression and summed over pixels and channels (Mahendran and Vedaldi, CVPR 2015,
    with exponent 1). Pixels are scaled to [0, 1], so one weight fits every input range.
    """

    def __init__(self, weight: float = 2e-4):
        super().__init__(weight)

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """See `Prior.penalty`."""
        if len(teacher.input_shape) != 3:
            raise InputError(
                "`TotalVariation` must be used with images of shape (height, width, channels). "
                f"Received: inputs of shape {teacher.input_shape}. Leave this prior out."
            )
        return _total_variation(pixels)


@keras.saving.register_keras_serializable(package="keras_zskd")
class PixelNorm(Prior):
    """Penalizes the distance from mid-gray: `|x - 1/2|_2` (Yin et al., DeepInversion, CVPR 2020).

    The paper penalizes the norm of standardized pixels, where 0 is the mean of the training data.
    Here pixels are in [0, 1] and the mean is unknown, so the middle of the range takes its place.

    Args:
        weight: Factor of the penalty, 0 or more.
    """

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """See `Prior.penalty`."""
        flat = tf.reshape(pixels, (-1, math.prod(teacher.input_shape)))
        return tf.norm(flat - 0.5 + TINY, axis=-1)


@keras.saving.register_keras_serializable(package="keras_zskd")
class BatchNormStatistics(Prior):
    """Penalizes the distance to the moving statistics of the teacher's batch normalization layers.

    `sum over layers of |mu - mu_l|_2 + |sigma^2 - sigma_l^2|_2` (Yin et al., DeepInversion, CVPR
    2020, equation 4), with `mu` and `sigma^2` over the `group_size` impressions of a group and the
    positions of the feature map. DeepInversion computes them over the batch. With fixed groups of
    consecutive impressions the result does not depend on the batch size.

    DeepInversion adds the term once to the mean loss of the batch. Here losses are summed over the
    impressions, so each impression gets the full term of its group. A weight therefore has the same
    effect as in the paper for every group size.

    Args:
        weight: Factor of the penalty, 0 or more. Defaults to 0.005, the best positive value
            measured with 30 steps from blobs. It was better still to leave the prior out
            (`benchmarks/tuning.md`), as the default synthesis does.
        group_size: Impressions per group, 2 or more; batch sizes must be multiples of it.
    """

    def __init__(self, weight: float = 0.005, group_size: int = 20):
        super().__init__(weight)
        if group_size < 2:
            raise invalid("group_size", "be 2 or more", group_size)
        self.group_size = group_size

    def taps(self, teacher: Teacher) -> list[Any]:
        """See `Prior.taps`."""
        return teacher.batch_norm_inputs

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """See `Prior.penalty`; each impression gets the full term of its group."""
        return tf.repeat(statistics_distance(teacher, taps, self.group_size), self.group_size)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {**super().get_config(), "group_size": self.group_size}


def priors_of(teacher: Teacher, total_variation: float, batch_norm_weight: float) -> list[Prior]:
    """Return the priors with a positive weight that apply to the teacher.

    Args:
        teacher: The teacher.
        total_variation: Weight of `TotalVariation`; used for images only.
        batch_norm_weight: Weight of `BatchNormStatistics`; used for teachers with batch
            normalization only.
    """
    priors: list[Prior] = []
    if total_variation and len(teacher.input_shape) == 3:
        priors.append(TotalVariation(total_variation))
    if batch_norm_weight and teacher.batch_norms:
        priors.append(BatchNormStatistics(batch_norm_weight))
    return priors


@compiled_on_cpu
def _total_variation(pixels: Any) -> Any:
    return tf.image.total_variation(pixels)
