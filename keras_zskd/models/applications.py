"""`application`: an architecture of `keras.applications` by name, as a student."""

import inspect
import re

import keras

from keras_zskd.core.errors import InputError, first_line, invalid
from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.batch_norms import limit_momentum

# Input ranges of architectures without a Rescaling layer of their own, and of those with one.
_SYMMETRIC, _BYTES = (-1.0, 1.0), (0.0, 255.0)


def application_names() -> dict[str, str]:
    """Names of the architectures of `keras.applications`, such as "mobilenet_v2": "MobileNetV2"."""
    return {
        _snake_case(name): name
        for name, function in vars(keras.applications).items()
        if inspect.isfunction(function)
    }


def is_application(name: str) -> bool:
    """Whether `application` knows a name; "MobileNetV2" and "mobilenetv2" are accepted as well."""
    return _plain(name) in {_plain(known) for known in application_names()}


def application(
    name: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> keras.Model:
    """Build an architecture of `keras.applications` with random weights, which outputs logits.

    Inputs are rescaled from `input_range` to the range that the architecture was designed for. The
    momentum of batch normalization is limited, see `limit_momentum`.

    Args:
        name: A name such as "mobilenet_v2" or "efficientnet_b0"; see `application_names`.
        input_shape: `(height, width, channels)`.
        num_classes: Number of outputs.
        input_range: `(low, high)`, range of the inputs.

    Returns:
        A flat Functional model with outputs `(N, num_classes)`.

    Raises:
        InputError: If there is no such architecture, or it does not take inputs of this shape.
    """
    known = {_plain(short): full for short, full in application_names().items()}
    if _plain(name) not in known:
        raise invalid(
            "name",
            "be an architecture of keras.applications",
            name,
            fix=f"Choose one of {', '.join(sorted(application_names()))}.",
        )
    if len(input_shape) != 3:
        raise _does_not_fit(name, input_shape, "it takes images (height, width, channels)")
    build = getattr(keras.applications, known[_plain(name)])
    settings = {"weights": None, "classes": num_classes, "classifier_activation": None}
    if "include_preprocessing" in inspect.signature(build).parameters:
        settings["include_preprocessing"] = False
    try:
        network = build(input_shape=tuple(input_shape), **settings)
    except Exception as error:  # A shape can fail in any layer.
        raise _does_not_fit(name, input_shape, first_line(error)) from error
    is_rescaling = any(isinstance(x, keras.layers.Rescaling) for x in network.layers)
    (low, high), (first, last) = input_range, _BYTES if is_rescaling else _SYMMETRIC
    scale = (last - first) / (high - low)
    images = keras.Input(input_shape)
    scaled = keras.layers.Rescaling(scale, first - scale * low, name="to_range")(images)
    model = inline(keras.Model(images, network(scaled), name=network.name), share_layer)
    return limit_momentum(model)


def _snake_case(name: str) -> str:
    """Return "mobilenet_v2" for "MobileNetV2", and "efficientnet_v2_b0" for "EfficientNetV2B0"."""
    found = name.replace("Net", "net").replace("NeXt", "next")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", found).lower()


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _does_not_fit(name: str, input_shape: tuple[int, ...], reason: str) -> InputError:
    return InputError(
        f"`name` must be an architecture for inputs of shape {tuple(input_shape)}. Received: "
        f"name={name!r} ({reason}). Choose another architecture."
    )
