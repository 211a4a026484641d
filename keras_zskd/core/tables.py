"""Results of a command: the printed table and the JSON file."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

# As many columns of the class similarity as fit in a terminal of 80 characters.
_MAX_COLUMNS = 12
_MAX_PAIRS = 10
# Column headings of the scores.
_HEADS = {"mean_average_precision": "mAP", "accuracy": "accuracy"}


def run_summary(run: Mapping[str, Any], output_dir: str) -> str:
    """Format the results of a run, its duration, and the location of its report.

    Args:
        run: The contents of RUN/run.json.
        output_dir: The run directory.
    """
    seconds = sum(stage.get("seconds", 0.0) for stage in run["stages"].values())
    where = pathlib.Path(output_dir)
    return (
        f"\n{results_table(run['results'])}\n\n"
        f"{seconds:.0f} s. Pictures and curves: {where / 'report.html'}\n"
        f"TensorBoard: tensorboard --logdir {where / 'logs'}"
    )


def results_table(results: Mapping[str, Any]) -> str:
    """Format the results of the teacher, the student and the int8 student as a table."""
    score = score_of(results["rows"])
    lines = [
        f"Measured on {results['measured_on']}",
        f"{'':<14}{_HEADS[score]:>10}{'agreement':>11}{'parameters':>12}{'bytes':>10}{'ms/image':>10}",
    ]
    for row in results["rows"]:
        unknown = "-" if "error" in row else "unknown"
        accuracy = unknown if row.get(score) is None else f"{row[score]:.2%}"
        agreement = unknown if row["agreement"] is None else f"{row['agreement']:.2%}"
        size = "-" if row["bytes"] is None else f"{row['bytes']:,}"
        speed = "-" if row["ms_per_image"] is None else f"{row['ms_per_image']:.3f}"
        lines.append(
            f"{row['model']:<14}{accuracy:>10}{agreement:>11}{row['parameters']:>12,}"
            f"{size:>10}{speed:>10}"
        )
    return "\n".join([*lines, *notes_on_files(results["rows"])])


def forms_table(rows: Sequence[Mapping[str, Any]], measured_on: str, directory: str) -> str:
    """Format the rows of `quantize` as a table.

    Args:
        rows: The rows.
        measured_on: The data, in words.
        directory: The directory of the files.
    """
    width = max(len(row["model"]) for row in rows) + 2
    score = score_of(rows)
    lines = [
        f"Measured: {measured_on}",
        f"{'':<{width}}{_HEADS[score]:>10}{'agreement':>11}{'bytes':>12}{'ms/image':>10}  file",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"{row['model']:<{width}}{'-':>10}{'-':>11}{'-':>12}{'-':>10}  none")
            continue
        accuracy = "unknown" if row.get(score) is None else f"{row[score]:.2%}"
        lines.append(
            f"{row['model']:<{width}}{accuracy:>10}{row['agreement']:>11.2%}{row['bytes']:>12,}"
            f"{row['ms_per_image']:>10.3f}  {row['file'] or 'not kept'}"
        )
    return "\n".join([*lines, *notes_on_files(rows), f"Files: {directory}"])


def score_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the score of rows: "accuracy", or that of a multi-label teacher."""
    return next((name for name in _HEADS if any(name in row for row in rows)), "accuracy")


def notes_on_files(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return sentences on LiteRT files: missing ones, slow int8 files, and the memory they need."""
    missing = [
        f"No LiteRT file of {row['model']}: {row['error']}" for row in rows if "error" in row
    ]
    arenas = [
        f"On a microcontroller {row['model']} needs {row['arena_bytes']:,} bytes of memory (arena of "
        "TensorFlow Lite Micro), and its file in flash memory."
        for row in rows
        if "arena_bytes" in row
    ]
    return missing + _slow_int8(rows) + arenas


def _slow_int8(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    times = {row["model"]: row.get("ms_per_image") for row in rows}
    slow = []
    for model, taken in times.items():
        of_float = times.get(model.removesuffix("int8").strip() or "float32")
        if model.endswith("int8") and taken and of_float and taken > of_float:
            slow.append(
                f"On this machine, {model} is slower than the float32 file. Measure the speed on the "
                "device that it is for."
            )
    return slow


def estimate_table(estimate: Mapping[str, Any]) -> str:
    """Format the result of `estimate`: time and disk space per stage, and memory."""
    lines = [f"{'':<14}{'minutes':>10}{'MB on disk':>12}"]
    for stage in (*estimate["stages"], {"name": "all", **estimate}):
        lines.append(
            f"{stage['name']:<14}{stage['seconds'] / 60:>10.1f}{stage['disk'] / 1e6:>12.1f}"
        )
    memory = estimate["memory"] / 1e9
    return "\n".join(
        [
            *lines,
            f"Memory: {memory:.1f} GB at most. Export and measuring come on top.",
        ]
    )


def pairs_table(pairs: dict[str, Any]) -> str:
    """Format names and values, one pair per line."""
    width = max(len(name) for name in pairs)
    return "\n".join(
        f"{name:<{width}}  {f'{value:.6g}' if isinstance(value, float) else value}"
        for name, value in pairs.items()
    )


def similarity_table(similarity: Sequence[Sequence[float]]) -> str:
    """Format a class similarity: the matrix, or the most similar pairs if it is too wide.

    Args:
        similarity: Symmetric matrix `(K, K)` of values in [-1, 1].
    """
    classes = range(len(similarity))
    if len(classes) <= _MAX_COLUMNS:
        lines = ["class similarity (cosine of the class templates)"]
        lines.append("     " + "".join(f"{number:>6}" for number in classes))
        lines += [
            f"{number:>5}" + "".join(f"{value:>6.2f}" for value in similarity[number])
            for number in classes
        ]
        return "\n".join(lines)
    pairs = sorted(
        ((similarity[i][j], i, j) for i in classes for j in range(i + 1, len(classes))),
        reverse=True,
    )
    lines = [f"most similar classes of {len(classes)} (cosine of the class templates)"]
    lines += [f"{i:>5}{j:>6}{value:>8.2f}" for value, i, j in pairs[:_MAX_PAIRS]]
    return "\n".join(lines)


def write_json(path: str, result: Any) -> None:
    """Write the result of a command to a file."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1, default=str)
