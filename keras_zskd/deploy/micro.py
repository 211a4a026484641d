"""The memory that a microcontroller needs to run a file, by TensorFlow Lite Micro."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator

# The interpreter aligns its memory to 16 bytes.
_ALIGNMENT = 16
_LARGEST = 1 << 28


def arena_bytes(path: str | os.PathLike[str]) -> int | None:
    """Return the size of the smallest tensor arena in which TensorFlow Lite Micro can run a file.

    The arena holds activations and the state of the interpreter; the file itself stays in flash memory.
    Found by bisection with the interpreter of the package tflite-micro. A microcontroller with another
    word size or optimized kernels needs a little more or less.

    Args:
        path: A `.tflite` file.

    Returns:
        A number of bytes; None if tflite-micro is not installed, or cannot run the file.
    """
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        return None
    model = pathlib.Path(path).read_bytes()

    def fits(size: int) -> bool:
        try:
            runtime.Interpreter.from_bytes(model, arena_size=size)
        except RuntimeError:
            return False
        return True

    with _without_messages():
        too_small, enough = 0, _ALIGNMENT
        while not fits(enough):
            if enough >= _LARGEST:
                return None
            too_small, enough = enough, 2 * enough
        while enough - too_small > _ALIGNMENT:
            middle = (too_small + enough) // 2 // _ALIGNMENT * _ALIGNMENT
            too_small, enough = (too_small, middle) if fits(middle) else (middle, enough)
    return enough


@contextlib.contextmanager
def _without_messages() -> Iterator[None]:
    """Hide what the interpreter, which is not Python code, writes to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
