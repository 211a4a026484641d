"""The model card of a run: `README.md` next to the student, in the format of model hubs."""

import os
from collections.abc import Mapping
from typing import Any

from keras_zskd.core.input_range import range_text
from keras_zskd.core.tables import score_of
from keras_zskd.evaluation.report.rendering import render
from keras_zskd.evaluation.report.run_summary import measurement_text, stages, uses_data

_FILES = {
    "student.keras": "the student, for Keras",
    "student": "SavedModel",
    "student.tflite": "LiteRT, float32",
    "student_int8.tflite": "LiteRT, full-integer int8",
    "student.onnx": "ONNX",
    "impressions": "the transfer set, a TensorFlow Datasets directory; see *Privacy* below",
    "report.html": "report with images, curves and tables; shows impressions",
    "run.json": "configuration, versions, seed, times and results",
    "logs": "logs for TensorBoard: `tensorboard --logdir logs`; show impressions",
}


def write_model_card(path: str | os.PathLike[str], run: Mapping[str, Any]) -> None:
    r"""Write a model card: Markdown with YAML front matter.

    Only files that exist next to the card are listed and explained, so write the card last.

    Args:
        path: Path of the card, `README.md` of the run directory; an existing card is replaced.
        run: Content of `run.json`; see `write_report` for the schema.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory) / "README.md"
        ...     write_model_card(path, {"method": "zskd"})
        ...     text = path.read_text(encoding="utf-8")
        >>> text.startswith("---\nlibrary_name: keras")
        True
    """
    directory = os.path.dirname(os.path.abspath(os.fspath(path)))
    rows = run.get("results", {}).get("rows", [])
    durations = {
        what: [stage["seconds"] for stage in stages(run, kind).values() if "seconds" in stage]
        for what, kind in (("Synthesis", "synthesis"), ("Training", "training"))
    }
    card = render(
        "model_card.md",
        run=run,
        uses_data=uses_data(run),
        score=score_of(rows),
        metrics=[
            name
            for name in (score_of(rows), "agreement")
            if any(row.get(name) is not None for row in rows)
        ],
        measurement=measurement_text(run),
        durations={what: sum(seconds) for what, seconds in durations.items() if seconds},
        files={
            name: content
            for name, content in _FILES.items()
            if os.path.exists(os.path.join(directory, name))
        },
        values=range_text(run.get("request", {}).get("teacher", {}).get("input_range")),
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(card)
