"""Augmentation of impressions inside the compiled step; the teacher labels what it then sees.

An augmented impression is a new question to the teacher, answered anew, so an augmentation need not
keep the label: rotations of any angle and mixtures of two impressions are fair questions.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError
from keras_zskd.inputs.affine import Affine, warp


class Augmentation(Configurable):
    """Base class of random transforms of a batch, run by TensorFlow inside `Distiller.train_step`.

    All draws are a function of the `seed` of the call, by TensorFlow's stateless random functions:
    `Distiller` makes it of its own seed, the step and the replica.
    """

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """Augment a batch.

        Args:
            images: `(N, H, W, C)`, in `input_range`.
            input_range: `(low, high)`.
            seed: `(2,)` integers.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_zskd")
class RandomAffine(Augmentation):
    """Rotation, shear, zoom and translation in one bilinear resampling; outside is mirrored.

    Args:
        rotation: Largest angle, in radians; a shear of up to the same angle comes on top.
        zoom: Largest logarithm of the zoom factor, each way; half as much between the two axes.
        translation: Largest shift, as a fraction of height and width.
        probability: Share of the images that are transformed.
    """

    def __init__(
        self,
        rotation: float = 0.12,
        zoom: float = 0.1,
        translation: float = 0.06,
        probability: float = 1.0,
    ):
        for name, value in (("rotation", rotation), ("zoom", zoom), ("translation", translation)):
            if value < 0:
                raise InputError(f"{name}={value} was received; expected 0 or more.")
        if not 0.0 <= probability <= 1.0:
            raise InputError(
                f"probability={probability} was received; expected a number in [0, 1]."
            )
        self.rotation, self.zoom, self.translation = rotation, zoom, translation
        self.probability = probability

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`."""
        if len(images.shape) != 4:
            return images
        # One row of draws for each parameter, and the last for who is left alone.
        draws = tf.random.stateless_uniform((7, tf.shape(images)[0]), seed, -1.0, 1.0)
        limits = (self.rotation, self.zoom, self.translation)
        return _moved(images, draws, *limits, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "rotation": self.rotation,
            "zoom": self.zoom,
            "translation": self.translation,
            "probability": self.probability,
        }


@keras.saving.register_keras_serializable(package="keras_zskd")
class Mixup(Augmentation):
    """Some images become a mixture with another of the batch (Zhang et al., ICLR 2018).

    The labels are not mixed: the teacher is asked about the mixture, which shows the student where
    the borders between classes run.

    Args:
        probability: Share of the images that are mixed; the mixing factor is uniform in [0, 1].
    """

    def __init__(self, probability: float = 0.1):
        if not 0.0 <= probability <= 1.0:
            raise InputError(
                f"probability={probability} was received; expected a number in [0, 1]."
            )
        self.probability = probability

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`; in a batch of one the image is mixed with itself."""
        draws = tf.random.stateless_uniform((2, tf.shape(images)[0]), seed)
        return _mixed(images, draws, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"probability": self.probability}


@compiled_on_cpu
def _moved(
    images: Any, draws: Any, rotation: float, zoom: float, translation: float, probability: float
) -> Any:
    """`RandomAffine` of `(N, H, W, C)` images with draws `(7, N)`, uniform in [-1, 1)."""
    # Images that are left alone are resampled at their own pixels, which changes nothing. Leaving
    # them out would cost more: the number of the others differs from batch to batch.
    draws = tf.where(draws[6] < 2 * probability - 1, draws[:6], 0.0)
    height, width = images.shape[1:3]
    return warp(
        images,
        Affine(
            angle=rotation * draws[0],
            zoom=tf.exp(zoom * draws[1]),
            shift_y=translation * height * draws[2],
            shift_x=translation * width * draws[3],
            aspect=tf.exp(zoom / 2 * draws[4]),
            shear=rotation / 2 * draws[5],
        ),
    )


@compiled_on_cpu
def _mixed(images: Any, draws: Any, probability: float) -> Any:
    """`Mixup` of `(N, ...)` images with draws `(2, N)`, uniform in [0, 1)."""
    factor = tf.where(draws[1] < probability, draws[0], 0.0)
    factor = tf.reshape(factor, (-1, *(1 for _ in images.shape[1:])))
    return images + factor * (tf.roll(images, 1, axis=0) - images)
