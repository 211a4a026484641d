"""The table of measures, its lines, and its files."""

import json
import os
import pathlib
import statistics
from typing import Any

# Share of the cores that other processes may use before the table mentions it.
_NOTABLE = 0.05
_HEAD = ["measure", "ours", "peer", "ratio", "goal", "command"]


def fastest(side: dict[str, Any]) -> dict[str, Any]:
    """Return median and best of the variant with the highest median, and the medians of all."""
    if "missing" in side:
        return {"missing": side["missing"]}
    medians = {variant: statistics.median(rates) for variant, rates in side["rates"].items()}
    variant = max(medians, key=lambda name: medians[name])
    rates = side["rates"][variant]
    found = {"median": medians[variant], "best": max(rates), "count": len(rates)}
    return {**found, "variant": variant, "medians": medians}


def mean_of_seeds(values: list[float]) -> dict[str, Any]:
    """Return a side for `row`, from one value per seed."""
    spread = f"mean of seeds, s.d. {statistics.stdev(values):.2f}"
    return {"median": statistics.mean(values), "variant": spread}


def spread(values: list[float]) -> str:
    """Return mean and standard deviation as text; a single seed has no deviation."""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def accuracies(results: dict[str, Any]) -> dict[str, float]:
    """Return the accuracies of teacher, student and int8 student in percent, from `distill`."""
    rows = {row["model"]: row for row in results["rows"]}
    return {
        f"{name.replace(' ', '_')}_accuracy": round(100 * rows[name]["accuracy"], 2)
        for name in ("teacher", "student", "student int8")
    }


def row(
    what: str,
    unit: str,
    ours: dict[str, Any],
    peer_name: str,
    peer: dict[str, Any],
    goal: str = "",
    compare: str = "ratio",
) -> dict[str, Any]:
    """Return one line of the table.

    Args:
        what: What is measured.
        unit: Unit of both numbers.
        ours: `{"median": ...}`, with "best" and "variant" if there are any, or `{"missing": why}`.
        peer_name: What ours is compared with.
        peer: Like `ours`.
        goal: Desired result of the comparison.
        compare: "ratio" of the medians, ours divided by the peer's, or their "difference".
    """
    compared = None
    if "median" in ours and "median" in peer:
        a, b = ours["median"], peer["median"]
        compared = a / b if compare == "ratio" else a - b
    sides = {"ours": ours, "peer_name": peer_name, "peer": peer}
    return {"what": what, "unit": unit, **sides, compare: compared, "goal": goal}


def write(output: pathlib.Path, results: dict[str, Any]) -> None:
    """Write the JSON file atomically, and the table next to it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(temporary, output)
    output.with_suffix(".md").write_text(markdown(results))


def markdown(results: dict[str, Any]) -> str:
    """The table of `{"measures": {name: {"rows": [...], "machine": {...}} or {"error": why}}}`."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    machines: dict[str, list[str]] = {}
    for name, measure in results["measures"].items():
        command = f"`python -m benchmarks.bench --only={name}`"
        if "error" in measure:
            lines.append(_line([name, f"failed: {measure['error']}", "", "", "", command]))
        for number, entry in enumerate(measure.get("rows", [])):
            lines.append(_line([*_cells(entry), "" if number else command]))
        if "machine" in measure:
            machines.setdefault(_sentence(measure["machine"]), []).append(name)
    lines += [
        "",
        "Numbers are medians, with the best in brackets; `make bench` measures all of it.",
    ]
    for sentence, names in machines.items():
        # One line for all measures, unless some come from another machine.
        lines += ["", sentence if len(machines) == 1 else f"{', '.join(names)}: {sentence}"]
    disturbed = [
        f"{name} {100 * measure['neighbours']:.0f} %"
        for name, measure in results["measures"].items()
        if (measure.get("neighbours") or 0.0) > _NOTABLE
    ]
    if disturbed:
        lines += ["", f"Taken by other processes meanwhile, of all cores: {', '.join(disturbed)}."]
    return "\n".join([*lines, ""])


def _cells(entry: dict[str, Any]) -> list[str]:
    peer = f"{entry['peer_name']}: {_side(entry['peer'], entry['unit'])}"
    compared = ""
    if entry.get("ratio") is not None:
        compared = f"{entry['ratio']:.2f}x"
    elif entry.get("difference") is not None:
        compared = f"{entry['difference']:+.3g} {entry['unit']}"
    return [entry["what"], _side(entry["ours"], entry["unit"]), peer, compared, entry["goal"]]


def _side(side: dict[str, Any], unit: str) -> str:
    if "missing" in side:
        return str(side["missing"])
    best = f" ({_number(side['best'])})" if "best" in side else ""
    variant = f", {side['variant']}" if side.get("variant") else ""
    return f"{_number(side['median'])}{best} {unit}{variant}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _sentence(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    hardware = f"{machine['hardware']}, {machine['threads']} threads"
    return f"{hardware}; Python {machine['python']}, {versions}."


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
