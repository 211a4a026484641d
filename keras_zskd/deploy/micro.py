"""The memory that a microcontroller needs to run a file in TensorFlow Lite Micro."""

import importlib.util
import os
import re
import subprocess
import sys

# Runs in another process: the interpreter can crash, and does not print through `sys.stdout`.
_PROGRAM = """
import sys
from tflite_micro.python.tflite_micro import runtime
runtime.Interpreter.from_file(sys.argv[1], arena_size=1 << 28).print_allocations()
"""
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_TIMEOUT = 120.0


def arena_bytes(path: str | os.PathLike[str]) -> int | None:
    """Return the size of the tensor arena in which TensorFlow Lite Micro runs a file.

    The arena holds activations and the state of the interpreter; the file itself stays in flash
    memory. The size is that reported by the interpreter in the package tflite-micro. A
    microcontroller with another word size or optimized kernels needs a little more or less.

    Args:
        path: A `.tflite` file.

    Returns:
        A number of bytes; None if tflite-micro is not installed, or cannot run the file.
    """
    if importlib.util.find_spec("tflite_micro") is None:
        return None
    command = [sys.executable, "-c", _PROGRAM, os.fspath(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    found = _TOTAL.search(done.stdout + done.stderr)
    return int(found[1]) if found and done.returncode == 0 else None
