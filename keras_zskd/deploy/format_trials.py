"""Find out by trial which export formats a teacher and its students support."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.formats import export
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher

_WIDTH = 0.5  # The usual width. With one or two channels, layers would output only zeros.
_NUM_IMAGES = 8
# Formats that only store weights in fewer bits are possible wherever "litert" is.
TRIED = ("saved_model", "litert", "litert_int8", "litert_mixed", "litert_int16x8", "onnx")


def possible_formats(teacher: Teacher) -> dict[str, str]:
    """Return whether teacher and student support the formats of `export`, before any training.

    What a format supports depends on the types of the layers, not on their weights or widths.
    Therefore an untrained `slim` copy of half the width is exported, with a few images of noise. A
    teacher that `slim` cannot narrow is exported as it is. Meanwhile, output to standard error is
    discarded.

    Args:
        teacher: The teacher. A student made by `slim` has layers of the same types.

    Returns:
        For each format "yes", or "no: " and the error message of `export`.
    """
    try:
        model = slim(teacher.prototype, _WIDTH)
    except InputError:
        model = teacher.prototype
    noise = np.random.default_rng(0).uniform(
        *teacher.input_range, (_NUM_IMAGES, *teacher.input_shape)
    )
    found = {}
    with tempfile.TemporaryDirectory() as directory, _silence():
        for format in TRIED:
            suffix = {"saved_model": "", "onnx": ".onnx"}.get(format, ".tflite")
            path = os.path.join(directory, f"{format}{suffix}")
            try:
                export(model, path, format, noise, teacher.input_range, num_checks=_NUM_IMAGES)
                found[format] = "yes"
            except (InputError, RuntimeError) as error:
                found[format] = f"no: {error}"
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discard standard error: the converters print from C++, whatever the log level."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
