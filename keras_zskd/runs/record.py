"""RUN/run.json: the arguments of a run, its stages, their times, and the results."""

import contextlib
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

from keras_zskd.core.errors import InputError
from keras_zskd.core.files import write_whole
from keras_zskd.core.machine import version_of

_FILE = "run.json"
# Version of the file format; a directory with another version is rejected.
_FORMAT = 2


def check_directory(directory: str | os.PathLike[str]) -> None:
    """Raise an error if a path is neither new, nor an empty directory, nor that of a run."""
    path = pathlib.Path(directory)
    if (path / _FILE).exists():
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(
            "`output_dir` must be new or empty. Received: "
            f"output_dir={os.fspath(directory)!r}, which holds something else. Choose another "
            "output directory."
        )


class RunRecord:
    """The record of a run directory; the file is always up to date.

    Args:
        directory: A new or empty directory, or that of a run with the same `request`.
        request: Data that identifies the run, as plain JSON types.

    Attributes:
        directory: The run directory.
        run: The contents of the file.

    Raises:
        InputError: If the directory holds something else, or a run with another `request`.
    """

    def __init__(self, directory: str | os.PathLike[str], request: dict[str, Any]):
        self.directory = pathlib.Path(directory)
        request = json.loads(json.dumps(request))
        if (self.directory / _FILE).exists():
            self.run = self._read()
            if self.run.get("format") != _FORMAT:
                raise InputError(
                    f"The run in `output_dir` must be of format {_FORMAT}. Received: "
                    f"output_dir={os.fspath(directory)!r}, of format {self.run.get('format')}. "
                    "Choose another output directory."
                )
            recorded = self.run.get("request", {})
            changed = sorted(k for k in {*recorded, *request} if recorded.get(k) != request.get(k))
            if changed:
                raise InputError(
                    "`output_dir` must be new, or of a run with the same arguments. Received: "
                    f"output_dir={os.fspath(directory)!r}, where {', '.join(changed)} differ. "
                    "Choose another output directory."
                )
            return
        check_directory(directory)
        self.run = {
            "format": _FORMAT,
            **{name: version_of(name) for name in ("keras_zskd", "tensorflow", "keras")},
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "request": request,
            "stages": {},
        }
        self._write()

    @contextlib.contextmanager
    def timed(self, stage: str, kind: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Time a stage, and add the times of earlier, interrupted attempts.

        Args:
            stage: Name of the stage, unique within a run.
            kind: "synthesis", "training", "data", "export" or "evaluation".
            **facts: Further entries about the stage.

        Yields:
            A dict for entries that are known only at the end of the stage.
        """
        begun = time.perf_counter()
        found: dict[str, Any] = {}
        try:
            yield found
        finally:
            held = self.run["stages"].get(stage, {})
            seconds = held.get("seconds", 0.0) + time.perf_counter() - begun
            self.run["stages"][stage] = {
                **held, "kind": kind, **facts, **found, "seconds": round(seconds, 2)
            }  # fmt: skip
            self._write()

    def update(self, **facts: Any) -> None:
        """Add entries about the run, and write the file."""
        self.run.update(facts)
        self._write()

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.directory / _FILE).read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(
                f"{str(self.directory / _FILE)!r} must be a JSON file. Received: a file that could "
                f"not be read ({error}). Choose another output directory, or remove this one."
            ) from error

    def _write(self) -> None:
        write_whole(self.directory / _FILE, json.dumps(self.run, indent=1, default=float))
