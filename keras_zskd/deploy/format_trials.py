"""Which files a teacher and its students can have, found by trying."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.formats import FORMATS, export
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher

_WIDTH = 0.5  # Of the usual student. With a channel or two, layers answer nothing but zero.
_NUM_IMAGES = 8
_SUFFIXES = {"saved_model": "", "litert": ".tflite", "litert_int8": "_int8.tflite", "onnx": ".onnx"}


def possible_formats(teacher: Teacher) -> dict[str, str]:
    """Whether teacher and student can have each format of `export`, before anything is trained.

    What a format can hold depends on the kinds of the layers, not on their weights or widths. So an
    untrained copy of half the width, as `slim` makes it, is exported with a few images of noise. A
    teacher that `slim` cannot narrow is exported as it is. What is written to standard error
    meanwhile is discarded.

    Args:
        teacher: The teacher; a student of `slim` has layers of the same kinds.

    Returns:
        By format "yes", or "no" and the sentence that `export` refuses with.
    """
    try:
        model = slim(teacher.original, _WIDTH)
    except InputError:
        model = teacher.original
    noise = np.random.default_rng(0).uniform(
        *teacher.input_range, (_NUM_IMAGES, *teacher.input_shape)
    )
    found = {}
    with tempfile.TemporaryDirectory() as directory, _silence():
        for format in FORMATS:
            path = os.path.join(directory, f"student{_SUFFIXES[format]}")
            try:
                export(model, path, format, noise, teacher.input_range, num_checks=_NUM_IMAGES)
                found[format] = "yes"
            except (InputError, RuntimeError) as error:
                found[format] = f"no: {error}"
    return found


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Discards what is written to standard error: the converters print from C++ whatever is set."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
