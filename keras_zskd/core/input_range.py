"""The range of a model's inputs: two numbers, or for each feature a range or allowed values."""

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, invalid

Range = tuple[Any, Any]
"""`(low, high)`: two numbers, or a `FeatureRange`."""


class FeatureRange(tuple[np.ndarray, np.ndarray]):
    """`(low, high)` per feature, as two float32 arrays of the shape of one input.

    Args:
        low: Lowest values, of shape `(*input_shape)`.
        high: Highest values, of the same shape.
        values: For each categorical feature, by its index on the last axis, the allowed values in
            increasing order.
    """

    values: dict[int, tuple[float, ...]]

    def __new__(
        cls, low: Any, high: Any, values: Mapping[int, tuple[float, ...]] | None = None
    ) -> "FeatureRange":
        """Create a pair that unpacks as `low, high = input_range`."""
        made = super().__new__(cls, (np.asarray(low, np.float32), np.asarray(high, np.float32)))
        made.values = dict(values or {})
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to copy and unpickle the pair; a tuple would pass both arrays as one."""
        return FeatureRange, (*self, self.values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureRange) and as_json(self) == as_json(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(json.dumps(as_json(self)))


def read_range(given: Any, shape: tuple[int, ...]) -> Range:
    """Read an input range from any of its forms.

    Args:
        given: `(low, high)`, two numbers; a tuple of two arrays, which are broadcast to `shape`; a
            list with one entry for each feature of the last axis, either `[low, high]` or
            `{"values": [0, 1]}` with the allowed values of a categorical feature; or the path of a JSON
            file with such a list.
        shape: Shape of one input.

    Returns:
        Two numbers, or a `FeatureRange`.

    Raises:
        InputError: If it has none of these forms, or a range is empty or not finite.
    """
    shown = given
    try:
        if isinstance(given, str | os.PathLike):
            with open(given, encoding="utf-8") as file:
                given = json.load(file)
        if isinstance(given, FeatureRange):
            found: Range = given
        elif isinstance(given, list) and given and not isinstance(given[0], int | float):
            found = _of_entries(given, shape)
        else:
            low, high = given
            if np.ndim(low) or np.ndim(high):
                found = FeatureRange(np.broadcast_to(low, shape), np.broadcast_to(high, shape))
            else:
                found = (float(low), float(high))
    except (OSError, TypeError, ValueError, KeyError) as error:
        raise InputError(
            "`input_range` must be two numbers (low, high), two arrays of them, or a list with one "
            f'[low, high] or {{"values": [...]}} for each of the {shape[-1] if shape else 0} features, '
            f"also as a JSON file. Received: input_range={_short(shown)} ({error})."
        ) from error
    low, high = found
    is_finite = np.isfinite(low).all() and np.isfinite(high).all()
    if not (is_finite and np.all(np.less(low, high))):
        raise invalid("input_range", "be finite numbers, low < high", _short(shown))
    return found


def as_json(input_range: Range) -> list[Any]:
    """Return a range as plain JSON types that `read_range` reads."""
    low, high = input_range
    if not isinstance(input_range, FeatureRange):
        return [low, high]
    if any((each != each.reshape(-1, each.shape[-1])[0]).any() for each in (low, high)):
        return [low.tolist(), high.tolist()]  # Different ranges along other axes.
    pairs = np.stack([each.reshape(-1, each.shape[-1])[0] for each in (low, high)], axis=-1)
    entries: list[Any] = pairs.tolist()
    for column, values in input_range.values.items():
        entries[column] = {"values": list(values)}
    return entries


def from_unit(unit: Any, input_range: Range) -> Any:
    """Map values in [0, 1] to a range; categorical features become the nearest allowed value.

    Gradients pass through this replacement unchanged, as in a straight-through estimator.
    """
    low, high = input_range
    return nearest_allowed(low + (high - low) * unit, input_range)


def to_unit(images: Any, input_range: Range) -> Any:
    """Map values in a range to [0, 1]."""
    low, high = input_range
    return (images - low) / (high - low)


def nearest_allowed(images: Any, input_range: Range) -> Any:
    """Replace the values of categorical features, if there are any, by the nearest allowed ones."""
    values = getattr(input_range, "values", None)
    if not values:
        return images
    most = max(len(allowed) for allowed in values.values())
    shape = (most - 1, input_range[0].shape[-1])
    borders, gaps = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
    is_categorical = np.zeros(shape[1], bool)
    for column, allowed in values.items():
        numbers = np.asarray(allowed, np.float32)
        borders[: len(numbers) - 1, column] = (numbers[1:] + numbers[:-1]) / 2
        gaps[: len(numbers) - 1, column] = np.diff(numbers)
        is_categorical[column] = True

    @tf.custom_gradient
    def replaced(x: Any) -> Any:
        near = tf.broadcast_to(tf.cast(input_range[0], x.dtype), tf.shape(x))
        for border, gap in zip(borders, gaps, strict=True):
            near += tf.where(x > border, gap, 0.0)
        return tf.where(is_categorical, near, x), lambda upstream: upstream

    return replaced(tf.cast(images, tf.float32))


def comparable(images: Any, input_range: Range) -> tuple[np.ndarray, tuple[float, float]]:
    """Return inputs with one range for all features, and that range."""
    images = np.asarray(images, np.float32)
    if not isinstance(input_range, FeatureRange):
        return images, input_range
    return to_unit(images, input_range), (0.0, 1.0)


def fewest_steps(input_range: Range) -> float:
    """Return how many of 255 steps over the widest range fall into the narrowest one."""
    low, high = input_range
    if not isinstance(input_range, FeatureRange):
        return 255.0
    return float(255 * np.min(high - low) / np.max(high - low))


def range_text(input_range: list[Any] | None) -> str:
    """Describe a range, as `as_json` returns it: "values from 0 to 1"."""
    low, high = input_range if input_range and len(input_range) == 2 else (None, None)
    if input_range is None:
        low, high = 0.0, 1.0
    if isinstance(low, int | float) and isinstance(high, int | float):
        return f"values from {low:g} to {high:g}"
    return "values within the range of each feature, `input_range` in run.json"


def _of_entries(entries: list[Any], shape: tuple[int, ...]) -> FeatureRange:
    if len(entries) == 2 and np.shape(entries[0]) == shape and len(shape) > 1:  # From `as_json`.
        return FeatureRange(*entries)
    if len(entries) != shape[-1]:
        raise ValueError(f"{len(entries)} entries")
    lows, highs, values = [], [], {}
    for column, entry in enumerate(entries):
        if isinstance(entry, Mapping):
            allowed = tuple(sorted({float(value) for value in entry["values"]}))
            if len(allowed) < 2 or not all(math.isfinite(value) for value in allowed):
                raise ValueError(f"entry {column} needs two or more finite values")
            values[column] = allowed
            low, high = allowed[0], allowed[-1]
        else:
            low, high = (float(value) for value in entry)
        lows.append(low)
        highs.append(high)
    return FeatureRange(np.broadcast_to(lows, shape), np.broadcast_to(highs, shape), values)


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 120 else f"{text[:117]}..."
