"""Line, bar, histogram and scatter charts as inline SVG, colored by the CSS of the page."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_INNER_WIDTH = _WIDTH - _LEFT - _RIGHT
_INNER_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_MAX_DOTS = 40
_MAX_NAMES = 12


def line_chart(series: Mapping[str, Sequence[float]], x_label: str, title: str) -> str:
    """Draw curves over the steps 1, 2, ...; values that are not finite are skipped.

    Args:
        series: Values by name, not empty. The CSS classes `series0`, `series1`, ... color them.
        x_label: Label of the x axis.
        title: Title for screen readers.
    """
    length = max(len(values) for values in series.values())
    finite = [value for values in series.values() for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    ticks = _ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def place(step: int, value: float) -> tuple[float, float]:
        x = _LEFT + _INNER_WIDTH * (step / (length - 1) if length > 1 else 0.5)
        return x, _TOP + _INNER_HEIGHT * (1.0 - (value - low) / ((high - low) or 1.0))

    parts = [_y_axis(ticks, low, high), _x_label(x_label)]
    for step in sorted({round(i * (length - 1) / 4) for i in range(5)}):
        parts.append(_text(place(step, low)[0], _HEIGHT - 22, str(step + 1)))
    for number, (name, values) in enumerate(series.items()):
        points = [(*place(i, v), i, v) for i, v in enumerate(values) if math.isfinite(v)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in points)
        parts.append(f'<polyline class="line series{number}" points="{path}"/>')
        for x, y, i, value in points if length <= _MAX_DOTS else points[-1:]:
            tip = html.escape(f"{name}, {x_label} {i + 1}: {number_text(value)}")
            parts.append(
                f'<circle class="dot series{number}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
                f"<title>{tip}</title></circle>"
            )
    return _legend(list(series)) + _svg(parts, title)


def bar_chart(
    names: Sequence[str], series: Mapping[str, Sequence[float]], x_label: str, title: str
) -> str:
    """Draw groups of bars, with one group per name.

    Args:
        names: Names of the groups. If there are many, only some are labeled.
        series: Values for each group, by name of the series.
        x_label: Label of the x axis.
        title: Title for screen readers.
    """
    high = max((max(values) for values in series.values() if len(values)), default=0.0) or 1.0
    ticks = _ticks(0.0, high)
    high = max(high, ticks[-1])
    parts = [_y_axis(ticks, 0.0, high), _x_label(x_label)]
    group = _INNER_WIDTH / max(1, len(names))
    bar = group * (0.96 if len(names) > 30 else 0.8) / len(series)
    every = math.ceil(len(names) / _MAX_NAMES)
    letters = max(3, int(group * every / 7))
    for i, name in enumerate(names):
        start = _LEFT + i * group + (group - bar * len(series)) / 2
        if i % every == 0:
            text = name if len(name) <= letters else name[: letters - 1] + "…"
            parts.append(_text(_LEFT + (i + 0.5) * group, _HEIGHT - 22, text))
        for number, (what, values) in enumerate(series.items()):
            height = _INNER_HEIGHT * values[i] / high
            tip = html.escape(f"{name}, {what}: {number_text(values[i])}")
            parts.append(
                f'<rect class="bar series{number}" x="{start + number * bar:.1f}" '
                f'y="{_TOP + _INNER_HEIGHT - height:.1f}" width="{bar:.2f}" height="{height:.1f}">'
                f"<title>{tip}</title></rect>"
            )
    return (_legend(list(series)) if len(series) > 1 else "") + _svg(parts, title)


def histogram(values: Any, x_label: str, title: str, bins: int = 30) -> str:
    """Draw a histogram with bins of equal width; values that are not finite are left out."""
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, bins=bins, range=_span(values))
    high = float(counts.max(initial=0)) or 1.0
    ticks = _ticks(0.0, high)
    high = max(high, ticks[-1])
    width = _INNER_WIDTH / bins
    parts = [_y_axis(ticks, 0.0, high), _x_label(x_label)]
    for i, count in enumerate(counts):
        height = _INNER_HEIGHT * count / high
        tip = f"{number_text(edges[i])} to {number_text(edges[i + 1])}: {count}"
        parts.append(
            f'<rect class="bar series0" x="{_LEFT + i * width + 0.5:.1f}" '
            f'y="{_TOP + _INNER_HEIGHT - height:.1f}" width="{width - 1:.2f}" '
            f'height="{height:.1f}"><title>{tip}</title></rect>'
        )
    for tick in _ticks(edges[0], edges[-1]):
        if edges[0] <= tick <= edges[-1]:
            x = _LEFT + _INNER_WIDTH * (tick - edges[0]) / (edges[-1] - edges[0])
            parts.append(_text(x, _HEIGHT - 22, number_text(tick)))
    return _svg(parts, title)


def scatter(x: Any, y: Any, x_label: str, title: str) -> str:
    """Draw one dot per pair, both values from 0 to 1, and the diagonal."""
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = [_y_axis(ticks, 0.0, 1.0), _x_label(x_label)]
    parts += [_text(_LEFT + _INNER_WIDTH * t, _HEIGHT - 22, number_text(t)) for t in ticks]
    parts.append(
        f'<line class="diagonal" x1="{_LEFT}" y1="{_TOP + _INNER_HEIGHT}" '
        f'x2="{_LEFT + _INNER_WIDTH}" y2="{_TOP}"/>'
    )
    places = zip(
        _LEFT + _INNER_WIDTH * np.clip(np.asarray(x, np.float64), 0.0, 1.0),
        _TOP + _INNER_HEIGHT * (1.0 - np.clip(np.asarray(y, np.float64), 0.0, 1.0)),
        strict=True,
    )
    parts += [f'<circle class="mark" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in places]
    return _svg(parts, title)


def number_text(value: float) -> str:
    """Format a number with three significant digits and thousands separators."""
    if not math.isfinite(value):
        return str(value)
    if abs(value) >= 1000 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _span(values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if 0.0 < low < 0.3 * high:  # Close to 0, so start the axis there.
        low = 0.0
    return (low, high) if high - low > 1e-9 * max(1.0, abs(high)) else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers that cover `low` to `high`."""
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= count + 1e-9)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def _y_axis(ticks: Sequence[float], low: float, high: float) -> str:
    parts = []
    for tick in ticks:
        y = _TOP + _INNER_HEIGHT * (1.0 - (tick - low) / ((high - low) or 1.0))
        parts.append(
            f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(_LEFT - 6, y + 4, number_text(tick), "end"))
    return "".join(parts)


def _x_label(text: str) -> str:
    return _text(_LEFT + _INNER_WIDTH / 2, _HEIGHT - 4, text)


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<span><i class="key series{i}"></i>{html.escape(name)}</span>'
        for i, name in enumerate(names)
    )
    return f'<div class="legend">{items}</div>'


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
