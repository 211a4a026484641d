"""Generator networks, which map noise to inputs of a teacher."""

import functools
import math

import keras

from keras_zskd.core.errors import invalid
from keras_zskd.core.input_range import nearest_allowed
from keras_zskd.models.teacher import Teacher

OUTPUTS = ("tanh", "normalized_tanh", "normalized", "standardized")


def image_generator(
    teacher: Teacher,
    latent: int = 100,
    filters: int = 128,
    epsilon: float = 1e-3,
    output: str = "tanh",
    seed: int = 0,
) -> keras.Model:
    """Build the generator of DAFL (Chen et al., ICCV 2019, released code) for any image size.

    It has a Dense layer to a quarter of height and width, two nearest-neighbor upsamplings by 2,
    3x3 convolutions with `filters`, `filters / 2` and C filters, batch normalization, and leaky
    ReLU with slope 0.2. For inputs that are not images, it has two hidden Dense layers.

    Args:
        teacher: Teacher that determines shape and range of the inputs.
        latent: Size of the noise.
        filters: Number of filters of the first convolution.
        epsilon: Epsilon of the batch normalization layers after a convolution; for inputs that are
            not images, of all. The released code of DAFL uses 0.8, due to a mistake in the order of
            arguments; preset "paper" follows it.
        output: Last layers. "tanh" ends in a tanh scaled to the teacher's range. "normalized_tanh" has
            batch normalization before the tanh. "standardized" has batch normalization without
            scale after it (DAFL's released code, for a teacher that expects standardized pixels).
            "normalized" ends in batch normalization without tanh (ZSKT's released code). With the
            last two, the mean is the middle of the teacher's range, and the standard deviation is a
            quarter of its width.
        seed: Seed of the initial weights.

    Raises:
        InputError: If `output` is unknown.
    """
    if output not in OUTPUTS:
        raise invalid("output", f"be one of {', '.join(OUTPUTS)}", output)
    layers = keras.layers
    low, high = teacher.input_range
    keras.utils.set_random_seed(seed)
    noise = x = keras.Input((latent,), name="noise")
    if len(teacher.input_shape) != 3:
        for _ in range(2):
            x = layers.Dense(4 * filters)(x)
            x = layers.LeakyReLU(0.2)(layers.BatchNormalization(epsilon=epsilon)(x))
        x = layers.Dense(math.prod(teacher.input_shape))(x)
        x = layers.Reshape(teacher.input_shape)(x)
    else:
        height, width, channels = teacher.input_shape
        rows, columns = math.ceil(height / 4), math.ceil(width / 4)
        x = layers.Reshape((rows, columns, filters))(layers.Dense(rows * columns * filters)(x))
        x = layers.UpSampling2D()(layers.BatchNormalization()(x))
        for size in (filters, filters // 2):
            x = layers.Conv2D(size, 3, padding="same")(x)
            x = layers.LeakyReLU(0.2)(layers.BatchNormalization(epsilon=epsilon)(x))
            x = layers.UpSampling2D()(x) if size == filters else x
        x = layers.Conv2D(channels, 3, padding="same")(x)
        x = layers.Cropping2D(((0, 4 * rows - height), (0, 4 * columns - width)))(x)
    if output.startswith("normalized"):
        x = layers.BatchNormalization()(x)
    if output != "normalized":
        x = layers.Activation("tanh")(x)
    if output == "standardized":
        x = layers.BatchNormalization(center=False, scale=False)(x)
    share = 0.5 if output.endswith("tanh") else 0.25
    # From standard units to the teacher's range.
    images = layers.Rescaling(share * (high - low), offset=(low + high) / 2)(x)
    if getattr(teacher.input_range, "values", None):  # Categorical features.
        allowed = functools.partial(nearest_allowed, input_range=teacher.input_range)
        images = layers.Lambda(allowed)(images)
    return keras.Model(noise, images, name="image_generator")
