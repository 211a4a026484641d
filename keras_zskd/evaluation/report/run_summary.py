"""What report and model card say alike about a run; its schema stands at `write_report`."""

import math
from collections.abc import Mapping
from typing import Any

from keras_zskd.core.tables import missing_files


def uses_data(run: Mapping[str, Any]) -> bool:
    """Whether the student of this run was trained on real data."""
    return bool(run.get("origin", {}).get("uses_data"))


def stages(run: Mapping[str, Any], kind: str | None = None) -> dict[str, Mapping[str, Any]]:
    """The stages of a run in their order; those of one kind, if it is given."""
    return {
        name: facts
        for name, facts in run.get("stages", {}).items()
        if kind in (None, facts.get("kind"))
    }


def accuracy_is_known(run: Mapping[str, Any]) -> bool:
    """Whether any model of this run was measured against labels."""
    rows = run.get("results", {}).get("rows", [])
    return any(row.get("accuracy") is not None for row in rows)


def measurement_text(run: Mapping[str, Any]) -> str:
    """What the figures were measured on, and what real images had to do with the run."""
    measured_on = run.get("results", {}).get("measured_on", "an unknown set of images")
    said = [f"Measured on {measured_on}."]
    if accuracy_is_known(run):
        said.append(
            "Training used real data too, of another split."
            if uses_data(run)
            else "The data set was used to measure only: neither synthesis nor training saw it."
        )
    else:
        said.append("Accuracy was not measured.")
    said.append(
        "Agreement: share of these images on which a model names the teacher's class. Size and "
        "time: of the LiteRT file, one image at a time, one thread. A dash: not measured."
    )
    said += missing_files(run.get("results", {}).get("rows", []))
    return " ".join(said)


def percent_text(share: float | None) -> str:
    """0.98765 as "98.77 %"; None as a dash."""
    return "-" if share is None or not math.isfinite(share) else f"{100.0 * share:.2f} %"


def bytes_text(size: int | None) -> str:
    """Bytes with their thousands set apart, and in kB or MB from there on."""
    if size is None:
        return "-"
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.2f} MB"


def duration_text(seconds: float) -> str:
    """Seconds, or minutes and seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
