"""Line, bar, histogram, scatter and matrix charts: Matplotlib, as SVG inside the page.

Text and axes have the text color of the page, so that a chart is readable in light and dark mode.
"""

import io
import math
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from keras_zskd.core.errors import invalid
from keras_zskd.evaluation.report.rendering import number_text

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT, _SQUARE = 400, 240, 350
_FORMATS = (".png", ".svg", ".pdf")
_MAX_DOTS = 40
_MAX_NAMES = 12
_MAX_VALUES = 12
# Replaced by the text color of the page when a chart is finished; not used for anything else.
_INK = "#010203"
# Readable on white and on black.
_COLORS = ("#3b82d6", "#d9701e", "#2f9e6e", "#9a5fc4")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_zskd",  # The same chart gives the same file.
    "text.parse_math": False,
    "font.size": 12,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 6),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.2,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.pad": 6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_SVG = "http://www.w3.org/2000/svg"
_TIP = "tip:"


def line_chart(series: Mapping[str, Sequence[float]], x_label: str, title: str) -> "Markup":
    """Draw curves over the steps 1, 2, ...; values that are not finite are skipped.

    Args:
        series: At most four series of values by name, not empty.
        x_label: Label of the x axis.
        title: Title for screen readers.
    """
    length = max(len(values) for values in series.values())

    def draw(axes: Any) -> None:
        for (name, values), color in zip(series.items(), _COLORS, strict=False):
            points = [(i + 1, v) for i, v in enumerate(values) if math.isfinite(v)]
            axes.plot(*np.reshape(points, (-1, 2)).T, color=color, linewidth=2, label=name)
            for step, value in points if length <= _MAX_DOTS else points[-1:]:
                (dot,) = axes.plot(step, value, "o", color=color, markersize=5)
                dot.set_gid(f"{_TIP}{name}, {x_label} {step}: {number_text(value)}")
        axes.set_xlabel(x_label)
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6, min_n_ticks=1)
        axes.yaxis.get_major_locator().set_params(nbins=5)
        _add_legend(axes, len(series))

    return _drawn(draw, title)


def bar_chart(
    names: Sequence[str], series: Mapping[str, Sequence[float]], x_label: str, title: str
) -> "Markup":
    """Draw groups of bars, with one group per name.

    Args:
        names: Names of the groups. If there are many, only some are labeled.
        series: At most four series of values for each group, by name.
        x_label: Label of the x axis.
        title: Title for screen readers.
    """
    positions = np.arange(len(names))
    width = (0.96 if len(names) > 30 else 0.8) / len(series)

    def draw(axes: Any) -> None:
        for number, (what, values) in enumerate(series.items()):
            shift = width * (number - (len(series) - 1) / 2)
            color = _COLORS[number]
            bars = axes.bar(positions + shift, values, width, color=color, label=what)
            for name, value, bar in zip(names, values, bars, strict=True):
                bar.set_gid(f"{_TIP}{name}, {what}: {number_text(value)}")
        axes.set_xlabel(x_label)
        axes.margins(x=0.01)
        axes.yaxis.get_major_locator().set_params(nbins=5)
        axes.set_xticks(*_some(names))
        if len(series) > 1:
            _add_legend(axes, len(series))

    return _drawn(draw, title)


def histogram(values: Any, x_label: str, title: str, bins: int = 30) -> "Markup":
    """Draw a histogram with bins of equal width; values that are not finite are left out."""
    values = np.asarray(values, np.float64)
    counts, edges = np.histogram(values[np.isfinite(values)], bins=bins)

    def draw(axes: Any) -> None:
        bars = axes.bar(edges[:-1], counts, 0.94 * np.diff(edges), align="edge", color=_COLORS[0])
        for low, high, count, bar in zip(edges[:-1], edges[1:], counts, bars, strict=True):
            bar.set_gid(f"{_TIP}{number_text(low)} to {number_text(high)}: {count}")
        axes.set_xlabel(x_label)
        axes.yaxis.get_major_locator().set_params(integer=True, nbins=5)

    return _drawn(draw, title)


def scatter(x: Any, y: Any, x_label: str, y_label: str, title: str) -> "Markup":
    """Draw one dot per pair, both values from 0 to 1, and the diagonal."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], "--", color=_INK, linewidth=1)
        axes.plot(x, y, "o", color=_COLORS[0], alpha=0.45, markersize=5, markeredgewidth=0)
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    return _drawn(draw, title)


def matrix(values: np.ndarray, names: Sequence[str], title: str) -> "Markup":
    """Draw a symmetric matrix `(K, K)` of values in [-1, 1]; a small one also shows its values.

    Colors range from minus to plus the largest value off the diagonal, which is left blank.

    Args:
        values: The matrix.
        names: One name per row.
        title: Title for screen readers.
    """
    return _drawn(_matrix(values, names), title, _SQUARE)


def write_matrix(path: str | os.PathLike[str], values: np.ndarray, names: Sequence[str]) -> None:
    """Draw a matrix, as `matrix` does, and write it to a file.

    Args:
        path: A path that ends in .png, .svg or .pdf.
        values: The matrix `(K, K)`.
        names: One name per row.

    Raises:
        InputError: If the path ends otherwise.
    """
    check_picture_path(path)
    _figure(_matrix(values, names), _SQUARE).savefig(os.fspath(path), dpi=144)


def check_picture_path(path: str | os.PathLike[str]) -> None:
    """Check that a path ends in .png, .svg or .pdf.

    Raises:
        InputError: If it ends otherwise.
    """
    if pathlib.Path(path).suffix not in _FORMATS:
        raise invalid(
            "picture",
            f"be a path that ends in {', '.join(_FORMATS)}",
            os.fspath(path),
            fix="Change the ending.",
        )


def _matrix(values: np.ndarray, names: Sequence[str]) -> Callable[[Any], None]:
    values = np.asarray(values, np.float64)
    # The similarity of a class with itself would take up most of the color range.
    others = np.where(np.eye(len(values), dtype=bool), np.nan, values)
    limit = float(np.nanmax(np.abs(others)))

    def draw(axes: Any) -> None:
        drawn = axes.imshow(others, "RdBu_r", vmin=-limit, vmax=limit, interpolation="none")
        shown, short = _some(names, letters=10)
        axes.set_yticks(shown, short)
        axes.set_xticks(shown, short, rotation=90 if max(map(len, short)) > 3 else 0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        bar = axes.figure.colorbar(drawn, format="%.2f", ticks=[-limit, 0, limit], shrink=0.8)
        bar.outline.set_visible(False)
        if len(values) <= _MAX_VALUES:
            for (row, column), value in np.ndenumerate(others):
                color = "white" if abs(value) > 0.6 * limit else "black"
                if row != column:
                    text = f"{value:z.2f}"
                    axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)

    return draw


def _some(names: Sequence[str], letters: int | None = None) -> tuple[list[int], list[str]]:
    """Positions and shortened names of as many groups as there is space for."""
    every = max(1, math.ceil(len(names) / _MAX_NAMES))
    letters = letters or max(3, int(_WIDTH / 8 * every / max(1, len(names))))
    shown = list(range(0, len(names), every))
    short = [name if len(name) <= letters else name[: letters - 1] + "…" for name in names]
    return shown, [short[i] for i in shown]


def _add_legend(axes: Any, count: int) -> None:
    axes.figure.legend(
        loc="outside upper left",
        ncols=min(count, 2),
        columnspacing=1.2,
        frameon=False,
        fontsize=12,
        handlelength=1.2,
    )


def _drawn(draw: Callable[[Any], None], title: str, height: int = _HEIGHT) -> "Markup":
    """Draw on new axes and return the SVG element."""
    from matplotlib import rc_context

    file = io.BytesIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # The browser writes the text; Matplotlib only measures it.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure = _figure(draw, height)
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_a_page(file.getvalue(), title)


def _figure(draw: Callable[[Any], None], height: int) -> Any:
    # Without pyplot, which would open windows and keep figures.
    from matplotlib.figure import Figure

    figure = Figure((_WIDTH / 72, height / 72), layout="constrained")
    draw(figure.add_subplot())
    return figure


def _for_a_page(svg: bytes, title: str) -> "Markup":
    """Turn an SVG file of Matplotlib into an element of a page, with colors, size and titles."""
    from markupsafe import Markup

    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg)
    for child in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title}
    for element in root.iter():
        element.tail = None
        if element.tag == f"{{{_SVG}}}g":
            # Identifiers of groups are unique within a chart, but not within the page.
            identifier = element.attrib.pop("id", "")
            if identifier.startswith(_TIP):
                tip = ElementTree.Element(f"{{{_SVG}}}title")
                tip.text = identifier.removeprefix(_TIP)
                element.insert(0, tip)
    return Markup(ElementTree.tostring(root, encoding="unicode").replace(_INK, "currentColor"))
