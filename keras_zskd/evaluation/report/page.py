"""The report of a run: a self-contained page with tables, images and curves."""

import html
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.pieces import card, table
from keras_zskd.evaluation.report.run_summary import (
    bytes_text,
    duration_text,
    measurement_text,
    percent_text,
    stages,
)
from keras_zskd.evaluation.report.section import Section

# Enforced by the browser: the page cannot load external resources or run scripts.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(
    path: str | os.PathLike[str], run: Mapping[str, Any], sections: Sequence[Section] = ()
) -> None:
    """Write `report.html`, a page without other files, network access or scripts.

    Args:
        path: Path of the report; an existing report is replaced.
        run: Content of `run.json`. Missing entries are left out or reported as unknown::

                {"format": 2, "keras_zskd": version, "tensorflow": version, "keras": version,
                 "python": version, "machine": text,
                 "request": {"method": {"name", "config"}, "seed": integer,
                             "teacher": Teacher.describe(), "student": {"parameters"}, ...},
                 "origin": {"inputs": plural noun, "uses_data": bool, "text": sentences},
                 "stages": {name: {"kind": "synthesis" | "training" | "data" | "export" |
                                   "evaluation", "seconds", "config", "num_impressions",
                                   "history": {name: [one value per epoch]}}},
                 "files": {name: {"file", "bytes", "agreement", ...}},
                 "results": {"measured_on": text,
                             "rows": [{"model", "accuracy", "agreement", "parameters", "bytes",
                                       "ms_per_image"}, ...]}}

            Accuracy and agreement are shares in [0, 1]; None means that it was not measured.
        sections: Sections of the method, between the results and the training.
    """
    parts = [_head(run), _results(run)]
    parts += [f"<h2>{html.escape(section.title)}</h2>{section.body}" for section in sections]
    parts += [_curves(run), _record(run)]
    style = importlib.resources.files("keras_zskd.evaluation.report").joinpath(
        "templates/report.css"
    )
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_title(run)}</title><style>\n{style.read_text(encoding='utf-8')}</style></head>\n"
        f"<body><main>\n{chr(10).join(parts)}\n</main></body></html>\n"
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _title(run: Mapping[str, Any]) -> str:
    request = run.get("request", {})
    teacher = request.get("teacher", {}).get("name", "a teacher")
    method = request.get("method", {}).get("name", "distillation")
    return html.escape(f"{method}: a student of {teacher}")


def _head(run: Mapping[str, Any]) -> str:
    origin = run.get("origin", {})
    said = [f"The student was trained on {origin.get('inputs', 'unknown inputs')}."]
    said += [origin["text"]] if origin else []
    classes = run.get("request", {}).get("teacher", {}).get("num_classes")
    said += [f"It distinguishes {classes} classes."] if classes else []
    return f"<h1>{_title(run)}</h1><p>{html.escape(' '.join(said))}</p>"


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
        return "<h2>Results</h2><p>No results were measured.</p>"
    columns = "".join(f'<th scope="col" class="number">{head}</th>' for head in heads)
    return (
        '<h2>Results</h2><div class="scroll"><table class="wide" id="results">'
        f'<thead><tr><th scope="col">model</th>{columns}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="soft below">{html.escape(measurement_text(run))}</p>'
    )


def _curves(run: Mapping[str, Any]) -> str:
    parts = []
    for name, stage in stages(run, "training").items():
        groups: dict[str, dict[str, Any]] = {"Loss": {}, "Agreement and accuracy": {}}
        for key, values in (stage.get("history") or {}).items():
            base = key.removeprefix("val_")
            if base == "loss":
                groups["Loss"][key] = values
            elif "agreement" in base or "accuracy" in base:
                groups["Agreement and accuracy"][key] = values
            elif len(values):
                groups[key] = {key: values}
        cards = [
            card(title, charts.line_chart(dict(list(series.items())[:4]), "epoch", title))
            for title, series in groups.items()
            if any(len(values) for values in series.values())
        ]
        if cards:
            parts.append(f'<h2>{_name(name)}</h2><div class="charts">{"".join(cards)}</div>')
    return "".join(parts) or "<h2>Training</h2><p>No training history was recorded.</p>"


def _record(run: Mapping[str, Any]) -> str:
    request = run.get("request", {})
    method = request.get("method", {})
    versions = {
        "method": method.get("name"),
        "seed": request.get("seed"),
        **{
            name: run.get(name)
            for name in ("keras_zskd", "tensorflow", "keras", "python", "machine")
        },
    }
    times = {
        name: duration_text(stage["seconds"])
        for name, stage in stages(run).items()
        if stage.get("seconds") is not None
    }
    files = {
        name: facts["error"]
        if "error" in facts
        else f"{facts['file']}, {bytes_text(facts['bytes'])}; predicts the class of the Keras "
        f"student for {percent_text(facts['agreement'])} of {facts['num_checked']:,} inputs"
        for name, facts in run.get("files", {}).items()
    }
    tables = {
        "Seed and versions": {k: v for k, v in versions.items() if v is not None},
        "Time taken": times,
        "Exported files, each run after the export": files,
        "Teacher": request.get("teacher"),
        "Student": request.get("student"),
        "Settings of the method": method.get("config"),
        **{
            f"Settings of the stage {name}": stage.get("config")
            for name, stage in stages(run).items()
        },
    }
    return "<h2>Details of the run</h2>" + "".join(
        f"<h3>{html.escape(title)}</h3>{table(entries)}"
        for title, entries in tables.items()
        if entries
    )


def _name(stage: str) -> str:
    return html.escape(stage[:1].upper() + stage[1:])
