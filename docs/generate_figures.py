"""Writes the measured figures of README.md and docs/ from results/: `python docs/generate_figures.py`.

A page marks where figures go. The function of that name in this file writes what is between the
marks:

    <!-- figures: best -->
    <!-- end of figures -->

With `--check`, nothing is written; the exit code is 1 if a page differs from what would be written,
and then the documentation does not build.
"""

import functools
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
_TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
_PAIRS = {**_TITLES, "cifar10": "CIFAR-10, AlexNet", "cifar10_resnet20": "CIFAR-10, ResNet-20"}


def _results(name: str) -> Any:
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def best() -> str:
    """The default method within a given time: results/best.md, in the order of `_PAIRS`."""
    table = (ROOT / "results" / "best.md").read_text(encoding="utf-8").splitlines()
    head = [
        "pair",
        "start",
        "time limit",
        "time taken",
        "teacher",
        "student",
        "int8 student",
        "seeds",
    ]
    lines = [_line(head), _line(["---"] * len(head))]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table[2:]]
    rows = [cells for cells in rows if len(cells) == len(head)]
    pairs = list(_PAIRS)
    for cells in sorted(rows, key=lambda cells: (pairs.index(cells[0]), cells[2] != "teacher")):
        pair, teacher, start, minutes, seconds, student, int8, seeds = cells
        taken = [f"{minutes} min", f"{seconds} s"]
        lines.append(_line([_PAIRS[pair], start, *taken, teacher, student, int8, seeds]))
    return "\n".join(lines)


def quantize() -> str:
    """Every form of two teachers: results/quantize.md."""
    table = (ROOT / "results" / "quantize.md").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in table if line.startswith("|"))


def cold_start() -> str:
    """From the first import to the report in a fresh process: results/bench.json."""
    rows = {row["what"]: row["ours"] for row in _bench("cold_start")}
    lines = [
        "| preset | seconds, median of three seeds | student, mean ± s.d. |",
        "| --- " * 3 + "|",
    ]
    for preset in ("default", "demo"):
        seconds = rows[f'cold start, preset "{preset}", time']["median"]
        accuracy = rows[f'cold start, preset "{preset}", accuracy']
        spread = accuracy["variant"].rsplit(" ", 1)[1]
        lines.append(_line([preset, f"{seconds:.0f}", f"{accuracy['median']:.2f} ± {spread}"]))
    return "\n".join(lines)


def demo() -> str:
    """What `make demo` prints last: results/demo.json."""
    from keras_zskd.core.tables import results_table

    return f"```\n{results_table(_results('demo.json')['results'])}\n```"


def step_profile() -> str:
    """The share of a step that is spent in matrix products: results/bench.json."""
    lines = ["| step | products, ms | whole step, ms | share |", "| --- " * 4 + "|"]
    for row in _bench("step_profile"):
        ours, whole = row["ours"]["median"], row["peer"]["median"]
        what = row["what"].split(":")[0]
        lines.append(_line([what, f"{ours:,.1f}", f"{whole:,.1f}", f"{ours / whole:.0%}"]))
    return "\n".join(lines)


def distillation() -> str:
    """Training compared with what Keras offers, like with like first: results/bench.json."""
    lines = ["| ours | compared with | ratio |", "| --- " * 3 + "|"]
    # "fed as ours" is the name of these rows in results older than "both ... steps a call".
    alike = ("a call", "fed as ours")
    rows = sorted(_bench("distillation"), key=lambda row: not row["peer_name"].endswith(alike))
    for row in rows:
        what = row["what"].removeprefix("distillation, ")
        lines.append(_line([what, row["peer_name"], f"{row['ratio']:.2f}x"]))
    return "\n".join(lines)


def _benchmark(suite: str) -> str:
    """The tables and figures of a suite: results/benchmark/."""
    where = ROOT / "results" / "benchmark"
    path = where / f"{suite}.md"
    if not path.exists():
        command = f"keras-zskd benchmark --suite={suite} --output_dir=results/benchmark"
        return f"Not measured yet: `{command}`."
    _, _, text = path.read_text(encoding="utf-8").partition("\n")
    parts = [text.strip().replace("## ", "### ")]
    for drawn in sorted(where.glob(f"{suite}-*.svg")):
        parts.append(f"![{drawn.stem}](../results/benchmark/{drawn.name})")
    return "\n\n".join(parts)


def methods() -> str:
    """Accuracy of every system that has run, next to published values: results/benchmark/."""
    columns: list[str] = []
    table: dict[str, dict[str, str]] = {}
    for suite, title in _TITLES.items():
        path = ROOT / "results" / "benchmark" / f"{suite}.md"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if line.startswith("## "):
                columns.append(f"{title}, {line.partition(' to ')[2]}")
            elif len(cells) > 3 and cells[2][:1].isdigit() and cells[0] != "Teacher-CE":
                system, published, last, *_ = cells
                row = table.setdefault(system, {})
                row[columns[-1]] = f"{last} ({published})" if published else last
    lines = [_line(["system", *columns]), _line(["---"] * (1 + len(columns)))]
    lines += [_line([name, *(row.get(key, "") for key in columns)]) for name, row in table.items()]
    return "\n".join(lines)


FIGURES: dict[str, Callable[[], str]] = {
    **{
        figure.__name__: figure
        for figure in (
            best,
            quantize,
            cold_start,
            demo,
            step_profile,
            distillation,
            methods,
        )
    },
    **{
        f"benchmark_{suite}": functools.partial(_benchmark, suite)
        for suite in ("mnist", "fashion_mnist", "cifar10", "mnist_curve")
    },
}


def _bench(measure: str) -> list[dict[str, Any]]:
    return list(_results("bench.json")["measures"][measure]["rows"])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def pages() -> list[Path]:
    """Return every page that may hold figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def filled(text: str) -> str:
    """Return a page with updated figures."""

    def fill(match: re.Match[str]) -> str:
        if match[2] not in FIGURES:
            raise ValueError(
                f"`figures` must be one of {', '.join(FIGURES)}. Received: {match[2]}. Correct the "
                "name, or add a function to docs/generate_figures.py."
            )
        return f"{match[1]}{FIGURES[match[2]]()}\n{match[3]}"

    return _BLOCK.sub(fill, text)


def main(argv: list[str]) -> int:
    """Write the pages, or compare them with `--check`."""
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = filled(text)
        if wanted != text and "--check" in argv:
            stale.append(str(page.relative_to(ROOT)))
        elif wanted != text:
            page.write_text(wanted, encoding="utf-8")
    if stale:
        sys.stderr.write(
            f"{', '.join(stale)}: figures differ from results/. Run python docs/generate_figures.py"
            "\n"
        )
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
