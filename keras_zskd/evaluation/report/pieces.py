"""HTML elements shared by the sections of a report."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_zskd.evaluation import pictures

_SHORT = 16
PICTURE_SIZE = 64


def table(entries: Mapping[str, Any]) -> str:
    """A table of names and values, with one pair per row."""
    rows = []
    for name, value in entries.items():
        text = _plain(value)
        kind = "short" if len(text) <= _SHORT else "value"
        rows.append(
            f'<tr><th scope="row">{html.escape(str(name))}</th>'
            f'<td class="{kind}">{html.escape(text)}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _plain(value: Any) -> str:
    """A configuration value in one line; a serialized Keras object as class and arguments."""
    if isinstance(value, Mapping):
        if "class_name" in value and "config" in value:
            return f"{value['class_name']}({_plain(value['config'])})"
        return ", ".join(f"{name}={_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(entry) for entry in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def card(title: str, content: str) -> str:
    """A chart with its title."""
    return f'<figure class="card"><h3>{html.escape(title)}</h3>{content}</figure>'


def small(images: np.ndarray, input_range: tuple[float, float]) -> np.ndarray:
    """Resize images to at most 64 pixels to limit the page size; the browser enlarges them."""
    pixels = pictures.to_pixels(images, input_range)
    is_small = max(pixels.shape[1:3]) <= PICTURE_SIZE
    return pixels if is_small else pictures.resize(pixels, PICTURE_SIZE)
