"""Quantization without data: a depthwise and a residual teacher of CIFAR-10, in every form.

python -m benchmarks.quantize --epochs=3

trains the teachers once, in `runs/quantize/`, and quantizes each with `keras_zskd.quantize`: int8
calibrated on impressions and pictures, next to uniform noise and to real training images, and the
forms that need no calibration or leave activations wider. Test images are used to measure, and for
nothing else. Accuracies in percent, of all 10,000 test images.
"""

import pathlib
from typing import Any

import keras
from keras import layers

from benchmarks import small_networks
from keras_zskd.inputs import datasets

_SHAPE = (32, 32, 3)
_NAMES = ("depthwise", "residual")
_WORK = pathlib.Path("runs/quantize")


def _depthwise() -> keras.Model:
    """Twelve layers as in MobileNet, with ReLU6: what quantization is known to be hardest on."""
    pixels = x = keras.Input(_SHAPE)

    def normalized(layer: Any, x: Any) -> Any:
        return layers.ReLU(6.0)(layers.BatchNormalization()(layer(x)))

    x = normalized(layers.Conv2D(32, 3, 2, padding="same", use_bias=False), x)
    for width, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        depthwise = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)
        x = normalized(layers.Conv2D(width, 1, use_bias=False), normalized(depthwise, x))
    return keras.Model(pixels, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def teacher_of(name: str, epochs: int) -> pathlib.Path:
    """The file of a teacher of `_NAMES`, trained once for a number of epochs."""
    path = _WORK / f"{name}_{epochs}.keras"
    if path.exists():
        return path
    keras.utils.set_random_seed(0)
    model = _depthwise() if name == "depthwise" else small_networks.build("residual", _SHAPE)
    images, labels = datasets.load("cifar10", "train", _SHAPE)
    decay = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-len(images) // 128))
    model.compile(
        keras.optimizers.AdamW(decay, weight_decay=1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=128, epochs=epochs, verbose=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return path
