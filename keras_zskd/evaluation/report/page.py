"""The report of a run: a self-contained page with tables, images and curves."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_zskd.core.tables import score_of
from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.rendering import render
from keras_zskd.evaluation.report.run_summary import (
    bytes_text,
    duration_text,
    measurement_text,
    percent_text,
    stages,
)
from keras_zskd.evaluation.report.section import Section

_MAX_SERIES = 4


def write_report(
    path: str | os.PathLike[str], run: Mapping[str, Any], sections: Sequence[Section] = ()
) -> None:
    """Write `report.html`, a page that needs no other files, network access or scripts.

    Args:
        path: Path of the report; an existing report is replaced.
        run: Content of `run.json`. Missing entries are left out or reported as unknown::

                {"format": 2, "keras_zskd": version, "tensorflow": version, "keras": version,
                 "python": version, "machine": text,
                 "request": {"method": {"name", "config"}, "seed": integer,
                             "teacher": Teacher.describe(), "student": {"parameters"}, ...},
                 "chosen": {"budget", "width", "needs": {"parameters", "bytes", "ms_per_image"}},
                 "origin": {"inputs": plural noun, "uses_data": bool, "text": sentences},
                 "stages": {name: {"kind": "synthesis" | "training" | "data" | "export" |
                                   "evaluation", "seconds", "config", "num_impressions",
                                   "history": {name: [one value per epoch]}}},
                 "files": {name: {"file", "bytes", "agreement", ...}},
                 "results": {"measured_on": text,
                             "rows": [{"model", "accuracy", "agreement", "parameters", "bytes",
                                       "ms_per_image"}, ...]}}

            Accuracy and agreement are shares in [0, 1]; None means not measured. Rows of a
            multi-label teacher have "mean_average_precision" instead of "accuracy".
        sections: Sections of the method, between the results and the training.
    """
    page = render(
        "report.html",
        run=run,
        measurement=measurement_text(run),
        score=score_of(run.get("results", {}).get("rows", [])),
        sections=sections,
        curves=_curves(run),
        details=_details(run),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def _curves(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Charts by title, for each training that has a history."""
    found = {}
    for name, stage in stages(run, "training").items():
        groups: dict[str, dict[str, Any]] = {"Loss": {}, "Agreement and accuracy": {}}
        for key, values in (stage.get("history") or {}).items():
            base = key.removeprefix("val_")
            if not len(values):
                continue
            if base == "loss":
                groups["Loss"][key] = values
            elif "agreement" in base or "accuracy" in base:
                groups["Agreement and accuracy"][key] = values
            else:
                groups[key] = {key: values}
        found[name] = {
            title: charts.line_chart(dict(list(series.items())[:_MAX_SERIES]), "epoch", title)
            for title, series in groups.items()
            if series
        }
    return {name: drawn for name, drawn in found.items() if drawn}


def _details(run: Mapping[str, Any]) -> dict[str, Any]:
    """Tables of the configuration, by title."""
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
    return {
        "Seed and versions": {k: v for k, v in versions.items() if v is not None},
        "Time taken": times,
        "Exported files, each run after the export": files,
        "Teacher": request.get("teacher"),
        "Student": _student(run),
        "Settings of the method": method.get("config"),
        **{
            f"Settings of the stage {name}": stage.get("config")
            for name, stage in stages(run).items()
        },
    }


def _student(run: Mapping[str, Any]) -> dict[str, Any]:
    """The size of the student, and how it was chosen."""
    chosen = dict(run.get("chosen", {}))
    measured = {f"{name}, before the training": x for name, x in chosen.pop("needs", {}).items()}
    return {**run.get("request", {}).get("student", {}), **chosen, **measured}
