"""`find_pixel_range`: the pixel range that a classifier was trained on, read from the classifier."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import scipy.special

from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.core.predictions import as_choices
from keras_zskd.models.batch_norm_distance import distance_from_statistics
from keras_zskd.models.logits import LogitsView

Range = tuple[float, float]
# Common training ranges; the last one is for pixels of mean 0 and standard deviation 1.
_RANGES: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-2.0, 2.0))
# Keras class names of preprocessing steps: those that change pixel values, and those that do not.
_ARITHMETIC = {
    "Rescaling", "Normalization", "Multiply", "Add", "Subtract", "Divide", "TrueDivide",
}  # fmt: skip
_PASSING = {
    "Identity", "Cast", "GetItem", "Stack", "Concatenate", "Reshape", "Resizing", "CenterCrop",
    "ZeroPadding2D", "Dropout", "GaussianNoise", "RandomBrightness", "RandomContrast", "RandomCrop",
    "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom",
}  # fmt: skip
_PICTURES, _FEWEST_PICTURES = 192, 8
# A range is accepted if its distance is at most the first number, and at most the second number
# times the distance of every other range.
_FITS, _FITS_BETTER = 0.5, 0.5
# Thresholds for the mutual information of pictures and predictions, as a share of the logarithm of
# the number of classes. The true range is above the first (0.30 to 0.45 in
# `benchmarks.pixel_ranges`), a range half as wide is below the second (0.03 to 0.12), and a range
# less than a tenth as wide is below the third.
_TELLS_APART, _TELLS_LITTLE, _TELLS_NOTHING = 0.25, 0.15, 0.05


@dataclasses.dataclass(frozen=True)
class PixelRange:
    """What a classifier reveals about its pixel range.

    Attributes:
        input_range: `(low, high)`, or None if the evidence does not decide.
        evidence: What decided, or why nothing did, as a clause that can end a sentence.
    """

    input_range: Range | None
    evidence: str


def find_pixel_range(view: LogitsView) -> PixelRange:
    """Find the pixel range that a classifier was trained on; only forward passes are made.

    In this order: (1) preprocessing at the start of the model, as layers or operations, that maps a
    usual range to [0, 1], [-1, 1], a standardized range or that of the VGG networks; (2) the moving
    statistics of the first batch normalization, which synthetic pictures reproduce in the right
    range; (3) the predictions: in a range that is much too small, all pictures look alike to the
    model; in one that is much too large, it is certain of every picture. Usual ranges are [0, 1],
    [-1, 1] and [0, 255]; (2) also tries [-2, 2], for pixels of mean 0 and standard deviation 1.

    Args:
        view: The classifier, see `logits_view`. (2) and (3) are only for images `(H, W, C)`.
    """
    found = _by_preprocessing(view.model)
    if found is None and len(view.model.input_shape) == 4:
        found = _by_batch_norm(view) or _by_predictions(view)
    return found or PixelRange(None, "nothing in the model reveals it")


def _by_preprocessing(model: keras.Model) -> PixelRange | None:
    reached, has_arithmetic = {id(model.inputs[0])}, False
    used: dict[int, Any] = {}
    for node in nodes_of(model):
        name, inputs = type(node.operation).__name__, node.input_tensors
        if name in _ARITHMETIC | _PASSING and all(id(x) in reached for x in inputs):
            has_arithmetic = has_arithmetic or name in _ARITHMETIC
            reached.update(id(x) for x in node.outputs)
        else:
            used.update({id(x): x for x in inputs if id(x) in reached})
    if not has_arithmetic or len(used) != 1:
        return None
    preprocessing = keras.Model(model.inputs[0], next(iter(used.values())))
    shape = tuple(model.input_shape[1:])
    ends = {}
    for pixels in _RANGES[:3]:
        constant = np.stack([np.full(shape, end, "float32") for end in pixels])
        mapped = np.asarray(preprocessing(constant, training=False), "float64")
        low, high = mapped.reshape(2, -1).mean(axis=1)
        ends[pixels] = low, high
    for name, fits in _PREPROCESSED.items():
        fitting = [pixels for pixels, (low, high) in ends.items() if fits(low, high)]
        if len(fitting) == 1:
            return PixelRange(fitting[0], f"its preprocessing maps {_text(fitting[0])} to {name}")
    return None


def _is_near(low: float, high: float, wanted: Range) -> bool:
    return max(abs(low - wanted[0]), abs(high - wanted[1])) < 0.05


# The standard deviation of images is a fifth to almost half of their range.
_PREPROCESSED: dict[str, Callable[[float, float], bool]] = {
    "[0, 1]": lambda low, high: _is_near(low, high, (0.0, 1.0)),
    "[-1, 1]": lambda low, high: _is_near(low, high, (-1.0, 1.0)),
    "standardized pixels": lambda low, high: low < 0 < high and 2.2 < high - low < 5.5,
    "pixels less their mean": lambda low, high: low < -50 and high > 50 and high - low < 300,
}


def _by_batch_norm(view: LogitsView) -> PixelRange | None:
    if not view.batch_norms:
        return None
    layer, tensor = view.batch_norms[0]
    if not np.asarray(layer.moving_mean).any():  # Never trained.
        return None
    features = keras.Model(view.model.inputs[0], tensor)
    distances = dict.fromkeys(_RANGES, np.inf)
    for pictures in _pictures(view.model.input_shape[1:]):
        for low, high in _RANGES:
            values = np.asarray(features(low + (high - low) * pictures, training=False))
            values = np.moveaxis(values, layer.axis, -1).reshape(-1, values.shape[layer.axis])
            distance = distance_from_statistics(layer, values.mean(axis=0), values.var(axis=0))
            distances[low, high] = min(distances[low, high], distance)
    best, second = sorted(distances, key=lambda pixels: distances[pixels])[:2]
    if distances[best] > min(_FITS, _FITS_BETTER * distances[second]):
        return None
    return PixelRange(
        best,
        "the statistics of its first batch normalization fit pictures in "
        f"{_text(best)} (distance {distances[best]:.2f}; {_text(second)}: {distances[second]:.2f})",
    )


def _by_predictions(view: LogitsView) -> PixelRange | None:
    model = view.model
    on_black = _pictures(model.input_shape[1:])[1]
    known = {}
    for low, high in _RANGES:
        logits = np.asarray(model(low + (high - low) * on_black, training=False), "float64")
        choices = np.asarray(as_choices(logits, view.is_multi_label))
        predictions = scipy.special.softmax(choices, axis=-1)
        of_mean = scipy.special.entr(predictions.mean(axis=0)).sum()
        information = of_mean - scipy.special.entr(predictions).sum() / len(predictions)
        num_choices = choices[0].size / choices.shape[-1]
        known[low, high] = float(information / num_choices / np.log(choices.shape[-1]))
    unit, symmetric, byte, standardized = _RANGES
    if known[unit] > _TELLS_APART:
        return _by_information(unit)
    if known[byte] > _TELLS_APART and known[standardized] < _TELLS_NOTHING:
        return _by_information(byte)
    if known[unit] < _TELLS_LITTLE < known[symmetric]:
        return PixelRange(None, "it may be [-1, 1], or that of standardized pixels")
    return None


def _by_information(pixels: Range) -> PixelRange:
    return PixelRange(pixels, f"its predictions tell pictures in {_text(pixels)} apart")


def _pictures(shape: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    """Generate three sets of pictures `(N, H, W, C)` in [0, 1]: natural, on black, on white.

    The natural ones have a `1/f` spectrum, similar channels, and the contrast of photographs.
    """
    random = np.random.default_rng(seed)
    height, width, channels = shape
    count = int(np.clip(_PICTURES * 3072 // np.prod(shape), _FEWEST_PICTURES, _PICTURES))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))[..., None]
    frequency[0, 0] = np.inf

    def noise(power: float, channels: int) -> Any:
        white = np.fft.fft2(random.normal(size=(count, height, width, channels)), axes=(1, 2))
        field = np.fft.ifft2(white / frequency**power, axes=(1, 2)).real
        return field / field.std(axis=(1, 2), keepdims=True)

    def uniform(low: float, high: float) -> Any:
        return random.uniform(low, high, (count, 1, 1, 1))

    grey, color = noise(1.2, 1), noise(1.2, channels)
    natural = uniform(0.25, 0.7) + uniform(0.1, 0.35) * (0.9 * grey + 0.3 * color)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    is_thing = noise(2.0, 1) + 1.5 > 3.0 * (y**2 + x**2)[..., None]
    thing = np.where(is_thing, np.clip(uniform(0.3, 0.9) + 0.2 * grey, 0.0, 1.0), 0.0)
    on_black = np.repeat(thing, channels, axis=-1)
    sets = (np.clip(natural, 0.0, 1.0), on_black, 1.0 - on_black)
    return [pictures.astype("float32") for pictures in sets]


def _text(pixels: Range) -> str:
    return f"[{pixels[0]:g}, {pixels[1]:g}]"
