"""RUN/run.json: what a run was asked for, what it did, how long it took, and what came out."""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Iterator
from typing import Any

from keras_zskd.core.errors import InputError

_FILE = "run.json"
# Of the file; a directory with another one is refused.
_FORMAT = 2


class RunRecord:
    """The record of a run directory, on disk at every moment.

    Args:
        directory: New, empty, or of a run with the same `request`.
        request: What identifies the run, as plain JSON types.

    Attributes:
        directory: The run directory.
        run: What the file holds.

    Raises:
        InputError: If the directory holds something else, or a run that was asked for differently.
    """

    def __init__(self, directory: str | os.PathLike[str], request: dict[str, Any]):
        self.directory = pathlib.Path(directory)
        request = json.loads(json.dumps(request))
        if (self.directory / _FILE).exists():
            self.run = self._read()
            if self.run.get("format") != _FORMAT:
                raise InputError(
                    f"The run in `output_dir` must be of format {_FORMAT}. Received: "
                    f"{os.fspath(directory)!r}, of format {self.run.get('format')}. Choose another "
                    "output directory."
                )
            asked = self.run.get("request", {})
            changed = sorted(k for k in {*asked, *request} if asked.get(k) != request.get(k))
            if changed:
                raise InputError(
                    f"{os.fspath(directory)!r} holds a run that was asked for differently "
                    f"({', '.join(changed)} differ); choose another output directory."
                )
            return
        if self.directory.exists() and (
            not self.directory.is_dir() or any(self.directory.iterdir())
        ):
            raise InputError(
                f"The output directory {os.fspath(directory)!r} holds something else; choose an "
                "empty or a new one."
            )
        self.run = {
            "format": _FORMAT,
            **{name: _version(name) for name in ("keras_zskd", "tensorflow", "keras")},
            "python": platform.python_version(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "request": request,
            "stages": {},
        }
        self._write()

    @contextlib.contextmanager
    def timed(self, stage: str, kind: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Time a stage; time spent by earlier, interrupted runs of the stage is added up.

        Args:
            stage: Its name, one for each in a run.
            kind: "synthesis", "training", "data", "export" or "evaluation".
            **facts: About it.

        Yields:
            A dict for facts that are known when it is done.
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
        """Add facts about the run, on disk at once."""
        self.run.update(facts)
        self._write()

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.directory / _FILE).read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise InputError(
                f"{self.directory / _FILE} could not be read ({error}); choose another output "
                "directory, or remove this one."
            ) from error

    def _write(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        beside = self.directory / f".{_FILE}"
        beside.write_text(json.dumps(self.run, indent=1, default=float), encoding="utf-8")
        os.replace(beside, self.directory / _FILE)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
