"""The cost of a LiteRT file on the device that runs it."""

import os
from typing import Any

from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.deploy.micro import arena_bytes


def costs_of(file: LiteRTModel) -> dict[str, Any]:
    """Return those entries in a row of results that depend only on the file.

    Returns:
        "bytes" on disk; "ms_per_image" on this machine, with one thread and one image at a time;
        and for integer files "arena_bytes", the memory needed on a microcontroller, if
        `tflite-micro` is installed.
    """
    arena = arena_bytes(file.path) if file.is_integer else None
    return {
        "bytes": os.path.getsize(file.path),
        "ms_per_image": file.milliseconds_per_image(),
        **({} if arena is None else {"arena_bytes": arena}),
    }
