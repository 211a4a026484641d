"""Figures of a benchmark: accuracy against cost, and against the number of impressions."""

import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.suite import Row
from keras_zskd.core.files import replacing

# Two-sided 95 % quantiles of Student's t distribution, by number of values.
_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}


def draw_all(results: Results, rows: Sequence[Row], num_seeds: int) -> list[pathlib.Path]:
    """Draw the figures for which there are results, as SVG files in the directory of the results.

    Returns:
        The files.
    """
    pairs = {name: [row for row in rows if row.pair == name] for name in results.suite.pairs}
    figures = {
        **{f"cost-{name}": _against_cost(results, own, num_seeds) for name, own in pairs.items()},
        "impressions": _against_impressions(results, rows, num_seeds),
    }
    drawn = []
    for name, figure in figures.items():
        if figure is not None:
            path = results.directory / f"{results.suite.name}-{name}.svg"
            with replacing(path) as temporary:
                figure.savefig(
                    temporary, format="svg", metadata={"Date": None}, bbox_inches="tight"
                )
            drawn.append(path)
    return drawn


def _against_cost(results: Results, rows: Sequence[Row], num_seeds: int) -> Any:
    """Test accuracy during the training, mean over the seeds, by forward passes spent so far."""
    groups = [(row, results.of(row, num_seeds)) for row in rows if row.x is None]
    groups = [(row, group) for row, group in groups if group and group[0]["curve"]]
    if not groups:
        return None
    title = f"{results.suite.title}, {results.suite.pairs[groups[0][0].pair].title}"
    figure, axes = _new_axes("forward passes of the teacher, in millions", title)
    for number, (row, group) in enumerate(groups):
        length = min(len(found["curve"]) for found in group)
        points = [[found["curve"][i] for found in group] for i in range(length)]
        spent = [statistics.mean(x for x, _ in point) / 1e6 for point in points]
        accuracy = [100 * statistics.mean(y for _, y in point) for point in points]
        style = ("-", "--", ":", "-.")[number // 10 % 4]
        axes.plot(spent, accuracy, style, label=row.title, linewidth=1.3, marker=".", markersize=3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _against_impressions(results: Results, rows: Sequence[Row], num_seeds: int) -> Any:
    """Test accuracy by number of impressions, with 95 % intervals of the mean over seeds."""
    methods = dict.fromkeys(row.method for row in rows if row.x is not None)
    series = {}
    for method in methods:
        found = [(row, results.of(row, num_seeds)) for row in rows if row.method == method]
        points = [
            (row.x, *_interval([100 * result["accuracy"]["last"] for result in group]))
            for row, group in found
            if row.x is not None and group
        ]
        if points:
            series[method] = sorted(points)
    if not series:
        return None
    title = results.suite.title
    figure, axes = _new_axes("impressions, in percent of the training set", title)
    for method, points in series.items():
        x, mean, error = zip(*points, strict=True)
        axes.errorbar(x, mean, yerr=error, label=method, marker="o", capsize=3)
    axes.set_xscale("log")
    ticks = sorted({x for points in series.values() for x, _, _ in points})
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.minorticks_off()
    axes.legend()
    return figure


def _new_axes(x_label: str, title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5))
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel("test accuracy, percent")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    return figure, axes


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the values, and half of its 95 % interval; 0 for a single value."""
    if len(values) < 2:
        return values[0], 0.0
    quantile = _T.get(len(values), 2.0)
    return statistics.mean(values), quantile * statistics.stdev(values) / len(values) ** 0.5
