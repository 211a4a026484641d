"""Jinja templates of the report and the model card; HTML is escaped automatically."""

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_zskd.core.input_range import Range
from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.report import run_summary

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

PICTURE_SIZE = 64


def render(template: str, **values: Any) -> "Markup":
    """Render a file of `templates/`.

    Values are escaped in `.html` files, unless they are `Markup`, such as the result of this
    function. Entries that a record does not have are undefined, at any depth.

    Args:
        template: Name of the file.
        values: Variables of the template.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(template).render(**values))


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "cell": _cell,
        "count": lambda number: "-" if number is None else f"{number:,}",
        "duration": run_summary.duration_text,
        "milliseconds": lambda time: "-" if time is None else f"{time:.3g}",
        "percent": run_summary.percent_text,
        "picture": pictures.data_uri,
        # Every JSON string is a valid YAML string.
        "quoted": lambda text: json.dumps(str(text)),
        "setting": _setting,
        "size": run_summary.bytes_text,
    }
    environment.filters |= filters
    return environment


def small(images: np.ndarray, input_range: Range) -> np.ndarray:
    """Resize images to at most 64 pixels to limit the page size; the browser enlarges them."""
    pixels = pictures.to_pixels(images, input_range)
    is_small = max(pixels.shape[1:3]) <= PICTURE_SIZE
    return pixels if is_small else pictures.resize(pixels, PICTURE_SIZE)


def number_text(value: float) -> str:
    """Format a number with three significant digits and thousands separators."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _setting(value: Any) -> str:
    """A configuration value in one line; a serialized Keras object as class and arguments."""
    if isinstance(value, Mapping):
        if "class_name" in value and "config" in value:
            return f"{value['class_name']}({_setting(value['config'])})"
        return ", ".join(f"{name}={_setting(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_setting(entry) for entry in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(value: Any) -> str:
    """Escape text so that it stays inside its table cell and line of Markdown."""
    return " ".join(str(value).split()).replace("|", "\\|")
