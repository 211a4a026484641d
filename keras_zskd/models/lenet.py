"""LeNet-5 and its two published halves, for MNIST and Fashion-MNIST.

Two different networks are called "LeNet-5-Half" in the literature. `lenet5_half` builds either. Do
not compare results of one with results of the other.
"""

import keras
from keras import layers

from keras_zskd.core.errors import invalid

# Channels of the two convolutions and units of the two hidden dense layers.
_LENET5 = (6, 16, 120, 84)
_HALVES = {"zskd": (3, 8, 120, 84), "dafl": (3, 8, 60, 42)}


def lenet5(num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 1)) -> keras.Model:
    """LeNet-5 with ReLU and max pooling, as used in zero-shot distillation.

    5x5 convolution to 6 channels, ReLU, 2x2 max pooling; 5x5 convolution to 16 channels, ReLU,
    2x2 max pooling; dense layers of 120, 84 and `num_classes` units. Convolutions are not padded.
    61,706 parameters for ten classes.

    Args:
        num_classes: Number of classes, at least 1.
        input_shape: Height, width and channels. MNIST images are resized to 32x32 pixels.

    Returns:
        A newly initialized Functional model from pixels in [0, 1] of shape `(N, *input_shape)` to
        logits `(N, num_classes)`.

    Example:
    >>> from keras_zskd.models import lenet5
    >>> lenet5().count_params()
    61706

    Reference:
        LeCun, Bottou, Bengio, Haffner: "Gradient-Based Learning Applied to Document Recognition"
        (Proceedings of the IEEE, 1998).
    """
    return _lenet(_LENET5, num_classes, input_shape, "lenet5")


def lenet5_half(
    variant: str = "zskd", num_classes: int = 10, input_shape: tuple[int, ...] = (32, 32, 1)
) -> keras.Model:
    """The student of LeNet-5, in one of its two published variants.

    | variant | channels, units | parameters | used by |
    | --- | --- | --- | --- |
    | "zskd" | 3, 8, 120, 84 | 35,820 | Lopes et al. 2017, ZSKD, DeGAN |
    | "dafl" | 3, 8, 60, 42 | 15,738 | DAFL, DFAD; equal to `slim(lenet5(), 0.5)` |

    Args:
        variant: "zskd" (only the convolutions halved) or "dafl" (everything halved).
        num_classes: Number of classes, at least 1.
        input_shape: Height, width and channels.

    Returns:
        A newly initialized Functional model from pixels in [0, 1] to logits `(N, num_classes)`.

    Raises:
        InputError: If `variant` is neither "zskd" nor "dafl".

    Example:
    >>> from keras_zskd.models import lenet5_half
    >>> lenet5_half().count_params(), lenet5_half("dafl").count_params()
    (35820, 15738)
    """
    if variant not in _HALVES:
        raise invalid(
            "variant", 'be "zskd" (35,820 parameters) or "dafl" (15,738 parameters)', variant
        )
    return _lenet(_HALVES[variant], num_classes, input_shape, f"lenet5_half_{variant}")


def _lenet(
    sizes: tuple[int, int, int, int], num_classes: int, input_shape: tuple[int, ...], name: str
) -> keras.Model:
    conv1, conv2, dense1, dense2 = sizes
    pixels = keras.Input(input_shape, name="pixels")
    x = layers.Conv2D(conv1, 5, activation="relu", name="conv1")(pixels)
    x = layers.MaxPooling2D(2, name="pool1")(x)
    x = layers.Conv2D(conv2, 5, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool2")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dense1, activation="relu", name="dense1")(x)
    x = layers.Dense(dense2, activation="relu", name="dense2")(x)
    # float32 for every dtype policy: logits are compared, and divided by temperatures.
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name=name)
