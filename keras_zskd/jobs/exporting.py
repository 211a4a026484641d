"""`export_file`: export a model file to another format."""

import dataclasses
import pathlib
from typing import Any

import keras

from keras_zskd.deploy.formats import export
from keras_zskd.deploy.litert_conversion import FormatError
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.teacher import Teacher, load_model


def export_file(
    model: str,
    output: str,
    format: str | None = None,
    calibration: str | None = None,
    safe_mode: bool = True,
) -> dict[str, Any]:
    """Export a model to a deployment format.

    Args:
        model: File of the student, .keras or .h5.
        output: Output path.
        format: saved_model, litert, litert_int8, litert_mixed, litert_int16x8,
            litert_dynamic, litert_float16 or onnx. By default inferred from the output path.
        calibration: Directory of impressions, for litert_int8, litert_mixed and litert_int16x8.
        safe_mode: Whether to reject Lambda layers.

    Returns:
        See `ExportResult`.
    """
    images = TransferSet(calibration) if calibration else None
    return dataclasses.asdict(export(load_model(model, safe_mode), output, format, images))


def exported(
    model: keras.Model, path: pathlib.Path, format: str, calibration: Any, teacher: Teacher
) -> dict[str, Any]:
    """Export and return facts about the file, or the "error" if the format is not supported."""
    try:
        result = export(model, path, format, calibration, teacher.input_range)
    except FormatError as error:
        path.unlink(missing_ok=True)  # From an earlier call with another student.
        return {"file": path.name, "error": str(error)}
    facts = dataclasses.asdict(result)
    return {"file": path.name, **{k: v for k, v in facts.items() if k not in ("path", "format")}}
