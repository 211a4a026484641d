"""A results file that grows run by run, and the table that is made from it."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

from benchmarks.machine import hardware

Runs = list[dict[str, Any]]


class ResultsFile:
    """A JSON file of runs next to a Markdown file of the same name, both written after every run.

    Args:
        path: Path of the JSON file.
        command: Command that writes it.
        lines: Function from the runs to the lines of the table.
    """

    def __init__(self, path: str, command: str, lines: Callable[[Runs], list[str]]):
        self._path, self._lines = pathlib.Path(path), lines
        self._results = json.loads(self._path.read_text()) if self._path.exists() else {"runs": []}
        self._results["command"] = command
        # A table may be filled on several machines.
        earlier = self._results.pop("hardware", None)
        for run in self._results["runs"]:
            run.setdefault("hardware", earlier)

    @property
    def runs(self) -> Runs:
        """The runs in the file."""
        return self._results["runs"]

    def has(self, key: dict[str, Any]) -> bool:
        """Return whether a run is in the file."""
        return any(key.items() <= run.items() for run in self._results["runs"])

    def add(self, run: dict[str, Any]) -> None:
        """Add a run, and write it to disk immediately."""
        self._results["runs"].append({**run, "hardware": hardware()})
        self._write()

    def show(self) -> None:
        """Write the files, and print the table."""
        print(self._write())

    def _write(self) -> str:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._results, indent=1) + "\n", encoding="utf-8")
        machines = dict.fromkeys(run["hardware"] for run in self._results["runs"])
        source = f"`{self._results['command']}`, {'; '.join(machines)}."
        text = "\n".join([*self._lines(self._results["runs"]), "", source, ""])
        self._path.with_suffix(".md").write_text(text, encoding="utf-8")
        return text
