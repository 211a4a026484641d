"""Augmentation of impressions inside the compiled step; the teacher labels the result.

The teacher predicts new labels for augmented impressions, so an augmentation need not preserve the
label: rotations by any angle and mixtures of two impressions are valid.
"""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import invalid
from keras_zskd.inputs.affine import Affine, warp


class Augmentation(Configurable):
    """Base class of random transforms of a batch, run by TensorFlow inside `Distiller.train_step`.

    All draws are a function of the `seed` of the call, through the stateless random functions of
    TensorFlow. `Distiller` derives it from its own seed, the step and the replica.
    """

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """Augment a batch.

        Args:
            images: `(N, H, W, C)` in `input_range`.
            input_range: `(low, high)`.
            seed: `(2,)` integers.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_zskd")
class RandomAffine(Augmentation):
    """Rotates, shears, zooms and shifts in one bilinear resampling, with mirrored borders.

    Args:
        rotation: Largest angle in radians, 0 or more. A shear of up to half this angle is added.
        zoom: Largest logarithm of the zoom factor in either direction, 0 or more. In addition, the
            aspect ratio changes by a factor whose logarithm is at most half of it.
        translation: Largest shift as a fraction of height and width, 0 or more.
        probability: Share of the images that are transformed, in [0, 1].
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
                raise invalid(name, "be 0 or more", value)
        _check_probability(probability)
        self.rotation, self.zoom, self.translation = rotation, zoom, translation
        self.probability = probability

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`."""
        if len(images.shape) != 4:
            return images
        # One row of draws per parameter; the last row selects the images to transform.
        draws = tf.random.stateless_uniform((7, tf.shape(images)[0]), seed, -1.0, 1.0)
        limits = (self.rotation, self.zoom, self.translation)
        return _moved(images, draws, *limits, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "rotation": self.rotation,
            "zoom": self.zoom,
            "translation": self.translation,
            "probability": self.probability,
        }


@keras.saving.register_keras_serializable(package="keras_zskd")
class Mixup(Augmentation):
    """Mixes some images with another image of the batch (Zhang et al., ICLR 2018).

    Labels are not mixed. The teacher labels the mixture, which shows the student the boundaries
    between classes.

    Args:
        probability: Share of the images that are mixed, in [0, 1]. The mixing factor is uniform in
            [0, 1].
    """

    def __init__(self, probability: float = 0.1):
        _check_probability(probability)
        self.probability = probability

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`; the image of a batch of one is mixed with itself."""
        draws = tf.random.stateless_uniform((2, tf.shape(images)[0]), seed)
        return _mixed(images, draws, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"probability": self.probability}


@keras.saving.register_keras_serializable(package="keras_zskd")
class Mosaic(Augmentation):
    """Puts four images of the batch, at half their size, into one (Bochkovskiy et al., 2020).

    Labels are not combined. The teacher labels the result. It shows a multi-label teacher several
    objects at once, and small ones.

    Args:
        probability: Share of the images that are replaced, in [0, 1].
    """

    def __init__(self, probability: float = 0.7):
        _check_probability(probability)
        self.probability = probability

    def __call__(self, images: Any, input_range: tuple[float, float], seed: Any) -> Any:
        """See `Augmentation.__call__`; inputs that are not images are returned as they are."""
        if len(images.shape) != 4:
            return images
        draws = tf.random.stateless_uniform(tf.shape(images)[:1], seed)
        return _tiled(images, draws, self.probability)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {"probability": self.probability}


def _check_probability(probability: float) -> None:
    if not 0.0 <= probability <= 1.0:
        raise invalid("probability", "be in [0, 1]", probability)


@compiled_on_cpu
def _moved(
    images: Any, draws: Any, rotation: float, zoom: float, translation: float, probability: float
) -> Any:
    """`RandomAffine` of `(N, H, W, C)` images with draws `(7, N)`, uniform in [-1, 1)."""
    # The other images are resampled at their own pixels, which changes nothing. Skipping them would
    # cost more, since their number differs from batch to batch.
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


@compiled_on_cpu
def _tiled(images: Any, draws: Any, probability: float) -> Any:
    """`Mosaic` of `(N, H, W, C)` images with draws `(N,)`, uniform in [0, 1)."""
    height, width = images.shape[1:3]
    small = tf.nn.avg_pool2d(images, 2, 2, "SAME")
    first, second, third, fourth = (tf.roll(small, number, axis=0) for number in range(4))
    rows = [tf.concat([first, second], axis=2), tf.concat([third, fourth], axis=2)]
    mosaic = tf.concat(rows, axis=1)[:, :height, :width]
    return tf.where(tf.reshape(draws, (-1, 1, 1, 1)) < probability, mosaic, images)
