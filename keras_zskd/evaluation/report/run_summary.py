"""Texts about a run shared by report and model card; see `write_report` for the schema."""

import math
from collections.abc import Mapping
from typing import Any

from keras_zskd.core.tables import notes_on_files, score_of


def uses_data(run: Mapping[str, Any]) -> bool:
    """Whether the student of this run was trained on real data."""
    return bool(run.get("origin", {}).get("uses_data"))


def stages(run: Mapping[str, Any], kind: str | None = None) -> dict[str, Mapping[str, Any]]:
    """Return the stages of a run in order, or only those of one kind."""
    return {
        name: facts
        for name, facts in run.get("stages", {}).items()
        if kind in (None, facts.get("kind"))
    }


def accuracy_is_known(run: Mapping[str, Any]) -> bool:
    """Whether any model of this run was measured against labels."""
    rows = run.get("results", {}).get("rows", [])
    return any(row.get(score_of(rows)) is not None for row in rows)


def measurement_text(run: Mapping[str, Any]) -> str:
    """Describe the images that were measured on, and how the run used real images."""
    measured_on = run.get("results", {}).get("measured_on", "an unknown set of images")
    sentences = [f"Measured on {measured_on}."]
    if accuracy_is_known(run):
        sentences.append(
            "Training also used real data, from another split."
            if uses_data(run)
            else "The dataset was only used for the evaluation, not for synthesis or training."
        )
    else:
        sentences.append("Accuracy was not measured.")
    teacher = run.get("request", {}).get("teacher", {})
    counted = (
        "the labels of these images that a model predicts as the teacher does, present or absent"
        if teacher.get("multi_label")
        else "these images for which a model predicts the teacher's class"
    )
    sentences.append(
        f"Agreement is the share of {counted}. Size and time are of the LiteRT file, with one image "
        "at a time on one thread. A dash means that a value was not measured."
    )
    sentences += notes_on_files(run.get("results", {}).get("rows", []))
    return " ".join(sentences)


def percent_text(share: float | None) -> str:
    """Format 0.98765 as "98.77 %", and None as a dash."""
    return "-" if share is None or not math.isfinite(share) else f"{100.0 * share:.2f} %"


def bytes_text(size: int | None) -> str:
    """Format a number of bytes in bytes, kB or MB, and None as a dash."""
    if size is None:
        return "-"
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.2f} MB"


def duration_text(seconds: float) -> str:
    """Format a duration as seconds, or as minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
