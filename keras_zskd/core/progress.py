"""What is shown while work goes on: a bar in a terminal, lines in a file."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
from absl import logging


def resolved(verbose: int | str) -> int:
    """What `verbose` means here: 0 for silence, 1 for bars, 2 for lines.

    Keras 3.15 takes "auto" for 1 everywhere, and its bar fills a file with carriage returns.

    Args:
        verbose: 0, 1 or 2, which stay what they are, or "auto": 1 in a terminal or a notebook,
            2 anywhere else.
    """
    if verbose != "auto":
        return int(verbose)
    is_live = (hasattr(sys.stdout, "isatty") and sys.stdout.isatty()) or "ipykernel" in sys.modules
    return 1 if is_live and keras.utils.is_interactive_logging_enabled() else 2


def show(done: str, seconds: float, values: Mapping[str, float]) -> None:
    """Write one line, to where Keras writes its own: standard output, or absl's log."""
    parts = [done, f"{seconds:.0f} s", *(f"{name}: {value:.4g}" for name, value in values.items())]
    line = " - ".join(parts)
    if keras.utils.is_interactive_logging_enabled():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()  # Who follows a file wants to see the line now.
    else:
        logging.info(line)


class EpochLines(keras.callbacks.Callback):
    """One line per epoch, where Keras' `verbose=2` writes two.

    Args:
        epochs: How many there are in all, also in earlier calls of `fit`.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self._epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        self._begun = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the line."""
        seconds = time.perf_counter() - self._begun
        show(f"epoch {epoch + 1}/{self._epochs}", seconds, logs or {})
