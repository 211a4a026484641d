"""The tables of a benchmark: our figures next to the published ones."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.suite import Pair, Row

MISSING = "missing"
_OVER = 1.1
_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "last epoch": lambda found: 100 * found["accuracy"]["last"],
    "best": lambda found: 100 * found["accuracy"]["best"],
    "last fifth": lambda found: 100 * found["accuracy"]["last_fifth"],
    "agreement": lambda found: 100 * found["agreement"],
    "KL": lambda found: found["predictive_kl"],
    "ECE": lambda found: 100 * found["ece"],
}
_COSTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "inputs": lambda found: f"{found['inputs']:,}",
    "forwards": lambda found: _forwards(found["forwards"], found["budget"]),
    "seconds": lambda found: f"{found['seconds']:.0f}",
    "memory": lambda found: f"{found['peak_memory'] / 1e9:.1f} GB",
}
_DIVERSITY = {
    "nearest": lambda found: found["diversity"]["nearest_distance"],
    "rank": lambda found: found["diversity"]["effective_rank"],
}


def tables(results: Results, rows: Sequence[Row], num_seeds: int) -> str:
    """Return the tables of a suite in Markdown, one for each pair.

    Args:
        results: The results.
        rows: The rows to show.
        num_seeds: Maximum number of seeds of a row.
    """
    suite = results.suite
    parts = [f"# {suite.title}"]
    for name, pair in suite.pairs.items():
        own = [row for row in rows if row.pair == name]
        if own:
            parts.append(f"## {pair.title}\n\n{_table(results, pair, own, num_seeds)}")
    return "\n\n".join([*parts, _note(results, rows, num_seeds)])


def missing(results: Results, rows: Sequence[Row], num_seeds: int) -> list[str]:
    """Return the rows and seeds without results, such as "zskd (seeds 1, 2)"."""
    found = []
    for row in rows:
        done = {result["seed"] for result in results.of(row, num_seeds)}
        absent = [seed for seed in range(min(num_seeds, row.seeds)) if seed not in done]
        if absent:
            found.append(f"{row.name} (seed{'s'[: len(absent) > 1]} {_joined(absent)})")
    return found


def _table(results: Results, pair: Pair, rows: Sequence[Row], num_seeds: int) -> str:
    head = ["system", "published", *_COLUMNS, *_DIVERSITY, *_COSTS, "seeds"]
    lines = [_line(head), _line(["---"] * len(head))]
    groups = [results.of(row, num_seeds) for row in rows]
    of_teacher = [found["accuracy"]["teacher"] for group in groups for found in group]
    ours = f"{100 * of_teacher[0]:.2f}" if of_teacher else MISSING
    lines.append(
        _line(["Teacher-CE", _published(pair.published), ours, *[""] * (len(head) - 4), "1"])
    )
    for row, group in zip(rows, groups, strict=True):
        cells = [row.title, _published(row.published)]
        if group:
            cells += [_spread([column(found) for found in group]) for column in _COLUMNS.values()]
            cells += [_mean([value(found) for found in group]) for value in _DIVERSITY.values()]
            cells += [cost(group[0]) for cost in _COSTS.values()]
        else:
            cells += [MISSING] * (len(head) - 3)
        wanted = min(num_seeds, row.seeds)
        lines.append(_line([*cells, f"{len(group)}" + f" of {wanted}" * (len(group) < wanted)]))
    return "\n".join(lines)


def _note(results: Results, rows: Sequence[Row], num_seeds: int) -> str:
    lines = [
        "Accuracy, agreement and ECE in percent on the test split, with the sample standard "
        "deviation over seeds; predictive KL in nats. Last fifth: mean over the epochs of the last "
        "fifth of the training. Nearest: median distance of an input to the nearest other, as a "
        "share of the range; rank: effective rank of the teacher's features; both of 1,000 inputs. "
        "Inputs: different ones, before augmentation. Forwards: the cost in forward passes of the "
        "teacher; over budget where the smallest sizes of the method cost more. "
        "Inputs, forwards, seconds and memory are of the first seed."
    ]
    found = [result for row in rows for result in results.of(row, num_seeds)]
    for facts in dict.fromkeys(
        f"{result['hardware']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        for result in found
    ):
        lines.append(f"{facts}.")
    for budget in dict.fromkeys(result["budget"] for result in found):
        lines.append(f"Budget: {budget / 1e6:g} million forward passes of the teacher.")
    if absent := missing(results, rows, num_seeds):
        lines.append(f"Missing: {', '.join(absent)}.")
    return "\n\n".join(lines)


def _forwards(cost: float, budget: float) -> str:
    """The cost of a run, which may exceed a small budget even if each count is 1."""
    over = " (over budget)" if cost > _OVER * budget else ""
    return f"{cost / 1e6:.3g} M{over}"


def _published(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def _mean(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.mean(known):.3g}" if known else ""


def _joined(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
