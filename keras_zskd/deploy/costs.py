"""What a LiteRT file costs where it runs."""

import os
from typing import Any

from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.deploy.micro import arena_bytes


def costs_of(file: LiteRTModel) -> dict[str, Any]:
    """Return the entries of a row of results that a file alone determines.

    Returns:
        "bytes" on disk, "ms_per_image" on this machine, one thread and one image at a time, and for
        integer files "arena_bytes", the memory that it needs on a microcontroller, if `tflite-micro`
        is installed.
    """
    arena = arena_bytes(file.path) if file.is_integer else None
    return {
        "bytes": os.path.getsize(file.path),
        "ms_per_image": file.milliseconds_per_image(),
        **({} if arena is None else {"arena_bytes": arena}),
    }
