"""`export_file`: a model's file in another format."""

import dataclasses
from typing import Any

from keras_zskd.deploy.formats import export
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.teacher import load_model


def export_file(
    model: str,
    output: str,
    format: str | None = None,
    calibration: str | None = None,
    safe_mode: bool = True,
) -> dict[str, Any]:
    """Write a model as a file that deploys.

    Args:
        model: The student, .keras or .h5.
        output: Where to write.
        format: saved_model, litert, litert_int8 or onnx; default: what the name of the output says.
        calibration: Impressions, for litert_int8.
        safe_mode: Refuse Lambda layers.

    Returns:
        See `ExportResult`.
    """
    images = TransferSet(calibration) if calibration else None
    return dataclasses.asdict(export(load_model(model, safe_mode), output, format, images))
