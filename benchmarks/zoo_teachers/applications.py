"""The families of `keras.applications`, with random weights at the smallest sizes that they take."""

from typing import Any

import keras
from keras import applications, layers

from benchmarks.zoo_teachers.entry import Entry, entries

_FAMILIES: dict[str, tuple[Any, int, dict[str, Any]]] = {
    "mobilenet": (applications.MobileNet, 32, {"alpha": 0.25}),
    "mobilenet_v2": (applications.MobileNetV2, 32, {"alpha": 0.35}),
    "mobilenet_v3_small": (applications.MobileNetV3Small, 32, {}),
    "mobilenet_v3_large": (applications.MobileNetV3Large, 32, {}),
    "vgg16": (applications.VGG16, 32, {}),
    "vgg19": (applications.VGG19, 32, {}),
    "resnet50": (applications.ResNet50, 32, {}),
    "resnet50_v2": (applications.ResNet50V2, 32, {}),
    "densenet121": (applications.DenseNet121, 32, {}),
    "efficientnet_b0": (applications.EfficientNetB0, 32, {}),
    "efficientnet_v2_b0": (applications.EfficientNetV2B0, 32, {}),
    "nasnet_mobile": (applications.NASNetMobile, 32, {}),
    "convnext_tiny": (applications.ConvNeXtTiny, 32, {}),
    "xception": (applications.Xception, 71, {}),
    "inception_v3": (applications.InceptionV3, 75, {}),
    "inception_resnet_v2": (applications.InceptionResNetV2, 75, {}),
}
# In a larger model, with the head of a user.
_NESTED = ("mobilenet", "mobilenet_v2", "vgg16", "resnet50_v2", "efficientnet_b0")


def _whole(name: str) -> keras.Model:
    build, size, settings = _FAMILIES[name]
    if name.startswith("vgg"):  # Its own head has 4,096 units twice.
        return _nested(name)
    return build(weights=None, classes=10, input_shape=(size, size, 3), **settings)


def _nested(name: str) -> keras.Model:
    build, size, settings = _FAMILIES[name]
    body = build(weights=None, include_top=False, input_shape=(size, size, 3), **settings)
    head = [layers.GlobalAveragePooling2D(), layers.Dropout(0.2), layers.Dense(10, "softmax")]
    return keras.Sequential([keras.Input((size, size, 3)), body, *head])


def _tuned(name: str) -> keras.Model:
    """Transfer learning as in the guide of Keras: frozen, with augmentation and preprocessing."""
    build, size, settings = _FAMILIES[name]
    body = build(weights=None, include_top=False, input_shape=(size, size, 3), **settings)
    body.trainable = False
    pixels = keras.Input((size, size, 3))
    x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(pixels))
    x = applications.mobilenet_v2.preprocess_input(x)
    x = layers.GlobalAveragePooling2D()(body(x, training=False))
    return keras.Model(pixels, layers.Dense(5)(x))


_RANGE = {"settings": {"input_range": (0, 255)}}
APPLICATIONS: list[Entry] = [
    *entries(
        "keras.applications, nested",
        {f"nested_{name}": lambda name=name: _nested(name) for name in _NESTED},
        **_RANGE,
    ),
    *entries(
        "transfer learning",
        {"tuned_mobilenet_v2": lambda: _tuned("mobilenet_v2")},
        settings={},
    ),
    *entries(
        "keras.applications",
        {name: lambda name=name: _whole(name) for name in _FAMILIES},
        **_RANGE,
    ),
]
