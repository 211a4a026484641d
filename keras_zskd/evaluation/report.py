"""The report of a run: one self-contained page with tables, pictures and curves."""

import html
import importlib.resources
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_zskd.evaluation import charts
from keras_zskd.evaluation.impression_measures import measure_impressions
from keras_zskd.evaluation.report_sections import (
    attention_section,
    card,
    gallery,
    honesty,
    synthesis_charts,
    table,
)
from keras_zskd.evaluation.run_summary import (
    bytes_text,
    duration_text,
    measurement_text,
    needs_data,
    percent_text,
    stage_seconds,
)

# Enforced by the browser: whatever the page holds, it fetches nothing and runs nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(
    path: str | os.PathLike[str],
    run: Mapping[str, Any],
    impressions: Mapping[str, np.ndarray] | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
    attention: Mapping[str, np.ndarray] | str | None = None,
) -> None:
    """Write `report.html`: a page that needs no other file, no network and no script.

    Args:
        path: Where to write; an earlier report is replaced.
        run: What `run.json` holds. Any entry may be missing, and is then left out or said to be
            unknown::

                {"keras_zskd": version, "tensorflow": version, "keras": version, "python": version,
                 "machine": text, "seed": integer, "method": name, "class_names": [text, ...],
                 "request": {what was asked for; "training_dataset" where real data was used},
                 "teacher": Teacher.describe(), "student": {"parameters", ...},
                 "synthesis": {"config": {..., "temperature"}, "num_impressions", "seconds"},
                 "distillation": {"config", "history": {name: [one value an epoch]}, "seconds"},
                 "export": {"files": {name: {"file", "bytes", "agreement", ...}}, "seconds"},
                 "results": {"measured_on": text,
                             "rows": [{"model", "accuracy", "agreement", "parameters", "bytes",
                                       "ms_per_image"}, ...]}}

            Accuracy and agreement are shares in [0, 1]; None is "not measured". Any other stage
            with "seconds" is listed with the times.
        impressions: What `TransferSet.arrays(limit)` gives, or None where the method makes none.
        input_range: `(low, high)` of the pixels.
        attention: Maps `(M, H, W)` in [0, 1] of the first M impressions by name of the model, as
            `attention_maps` gives them for the classes that the teacher names; or text that says
            why there are none; or None.
    """
    sections = [_head(run), _results(run)]
    if impressions is not None and len(impressions["label"]):
        config = run.get("synthesis", {}).get("config", {})
        temperature = float(config.get("temperature", 1.0))
        measures = measure_impressions(impressions, input_range, temperature)
        names = _class_names(run, measures["counts"].shape[0])
        sections += [
            gallery(impressions, measures, input_range, names, temperature),
            honesty(measures),
            synthesis_charts(impressions, measures, names),
        ]
    else:
        sections.append("<h2>Impressions</h2><p>This run has none to show.</p>")
    sections += [_curves(run), attention_section(impressions, input_range, attention), _record(run)]
    style = importlib.resources.files("keras_zskd.evaluation").joinpath("templates/report.css")
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_title(run)}</title><style>\n{style.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{chr(10).join(sections)}\n</main></body></html>\n"
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _title(run: Mapping[str, Any]) -> str:
    teacher = run.get("teacher", {}).get("name", "a teacher")
    return html.escape(f"{run.get('method', 'distillation')}: a student of {teacher}")


def _head(run: Mapping[str, Any]) -> str:
    teacher, synthesis = run.get("teacher", {}), run.get("synthesis", {})
    count = synthesis.get("num_impressions")
    source = (
        "real training data"
        if needs_data(run)
        else f"{count:,} impressions synthesised from the teacher"
        if count
        else "impressions synthesised from the teacher"
    )
    classes = teacher.get("num_classes")
    what = f" It tells {classes} classes apart." if classes else ""
    return f"<h1>{_title(run)}</h1><p>The student was trained on {source}.{what}</p>"


def _results(run: Mapping[str, Any]) -> str:
    results = run.get("results", {})
    heads = ("accuracy", "agreement", "parameters", "size", "ms per image")
    rows = []
    for row in results.get("rows", []):
        speed = row.get("ms_per_image")
        cells = (
            percent_text(row.get("accuracy")),
            percent_text(row.get("agreement")),
            "-" if row.get("parameters") is None else f"{row['parameters']:,}",
            bytes_text(row.get("bytes")),
            "-" if speed is None else f"{speed:.3g}",
        )
        cells_html = "".join(
            f'<td class="number" data-label="{head}">{cell}</td>'
            for head, cell in zip(heads, cells, strict=True)
        )
        rows.append(f'<tr><th scope="row">{html.escape(str(row["model"]))}</th>{cells_html}</tr>')
    if not rows:
        return "<h2>Results</h2><p>Nothing was measured.</p>"
    columns = "".join(f'<th scope="col" class="number">{head}</th>' for head in heads)
    return (
        '<h2>Results</h2><div class="scroll"><table class="wide" id="results">'
        f'<thead><tr><th scope="col">model</th>{columns}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="soft below">{html.escape(measurement_text(run))}</p>'
    )


def _curves(run: Mapping[str, Any]) -> str:
    history = run.get("distillation", {}).get("history") or {}
    groups: dict[str, dict[str, Any]] = {"Loss": {}, "Agreement and accuracy": {}}
    for name, values in history.items():
        base = name.removeprefix("val_")
        if base == "loss":
            groups["Loss"][name] = values
        elif "agreement" in base or "accuracy" in base:
            groups["Agreement and accuracy"][name] = values
        elif len(values):
            groups[name] = {name: values}
    cards = [
        card(title, charts.line_chart(dict(list(series.items())[:4]), "epoch", title))
        for title, series in groups.items()
        if any(len(values) for values in series.values())
    ]
    if not cards:
        return "<h2>Training</h2><p>No training history was recorded.</p>"
    return f'<h2>Training</h2><div class="charts">{"".join(cards)}</div>'


def _record(run: Mapping[str, Any]) -> str:
    versions = {
        name: run[name]
        for name in ("method", "seed", "keras_zskd", "tensorflow", "keras", "python", "machine")
        if run.get(name) is not None
    }
    times = {stage: duration_text(value) for stage, value in stage_seconds(run).items()}
    files = {
        name: facts["error"]
        if "error" in facts
        else f"{facts['file']}, {bytes_text(facts['bytes'])}; names the class of the Keras "
        f"student for {percent_text(facts['agreement'])} of {facts['num_checked']:,} inputs"
        for name, facts in run.get("export", {}).get("files", {}).items()
    }
    tables = {
        "Seed and versions": versions,
        "Time taken": times,
        "Files, each executed after it was written": files,
        "Teacher": run.get("teacher"),
        "Student": run.get("student"),
        "Synthesis": run.get("synthesis", {}).get("config"),
        "Distillation": run.get("distillation", {}).get("config"),
    }
    return "<h2>How it was made</h2>" + "".join(
        f"<h3>{title}</h3>{table(entries)}" for title, entries in tables.items() if entries
    )


def _class_names(run: Mapping[str, Any], num_classes: int) -> list[str]:
    names = run.get("class_names")
    numbers = [str(number) for number in range(num_classes)]
    return [str(name) for name in names] if names and len(names) == num_classes else numbers
