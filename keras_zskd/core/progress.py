"""Progress output: a progress bar in a terminal, lines in a file."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
from absl import logging


def resolved(verbose: int | str) -> int:
    """Resolve `verbose` to 0 (silent), 1 (progress bar) or 2 (lines).

    Keras 3.15 treats "auto" as 1 everywhere, even where its progress bar fills a log file with
    carriage returns.

    Args:
        verbose: 0, 1 or 2, returned unchanged, or "auto": 1 in a terminal or a notebook, otherwise
            2.
    """
    if verbose != "auto":
        return int(verbose)
    is_live = (hasattr(sys.stdout, "isatty") and sys.stdout.isatty()) or "ipykernel" in sys.modules
    return 1 if is_live and keras.utils.is_interactive_logging_enabled() else 2


def show(done: str, seconds: float, values: Mapping[str, float]) -> None:
    """Write one line to where Keras writes its output: standard output or the log of absl."""
    parts = [done, f"{seconds:.0f} s", *(f"{name}: {value:.4g}" for name, value in values.items())]
    line = " - ".join(parts)
    if keras.utils.is_interactive_logging_enabled():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()  # For users who follow the file, as with `tail -f`.
    else:
        logging.info(line)


class EpochLines(keras.callbacks.Callback):
    """Writes one line per epoch, where `verbose=2` of Keras writes two.

    Args:
        epochs: Total number of epochs, including those of earlier calls of `fit`.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Record the start time."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the line."""
        seconds = time.perf_counter() - self._begun
        show(f"epoch {epoch + 1}/{self._epochs}", seconds, logs or {})
