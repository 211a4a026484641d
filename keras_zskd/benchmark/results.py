"""`Results`: the results files of a benchmark, one for each row and seed."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from keras_zskd.benchmark.suite import Row, Suite
from keras_zskd.core.errors import InputError
from keras_zskd.core.files import write_whole

FORMAT = 1


class Results:
    """The results in a directory. Each file is written as a whole when its run is finished.

    Args:
        directory: The output directory of the benchmark.
        suite: The suite.
    """

    def __init__(self, directory: str | os.PathLike[str], suite: Suite):
        self.directory, self.suite = pathlib.Path(directory), suite

    def path(self, row: str, seed: int) -> pathlib.Path:
        """Return the path of the results of a row and a seed."""
        return self.directory / f"{self.suite.name}-{row}-{seed}.json"

    def teacher_path(self, architecture: str) -> pathlib.Path:
        """Return the path of the teacher of an architecture, in Keras' format."""
        dataset = pathlib.Path(self.suite.dataset).stem  # It may be a file.
        return self.directory / f"{dataset}-{architecture}.keras"

    def run_path(self, row: str, seed: int) -> pathlib.Path:
        """Return the run directory of a row and a seed, which is removed at the end of the run."""
        return self.directory / ".runs" / f"{self.suite.name}-{row}-{seed}"

    def of(self, row: Row, num_seeds: int | None = None) -> list[dict[str, Any]]:
        """Return the results of a row that exist, by seed."""
        seeds = range(row.seeds if num_seeds is None else min(num_seeds, row.seeds))
        found = (self.read(row.name, seed) for seed in seeds)
        return [result for result in found if result is not None]

    def read(self, row: str, seed: int) -> dict[str, Any] | None:
        """Return the results of a row and a seed, or None if there are none.

        Raises:
            InputError: If the file is not a results file of this version.
        """
        path = self.path(row, seed)
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            found = {}
        if found.get("format") != FORMAT:
            raise InputError(
                f"The results in `output_dir` must be of format {FORMAT}. Received: "
                f"{str(path)!r}, of format {found.get('format')}. Remove the file to run the row "
                "again, or choose another output directory."
            )
        return found

    def write(self, row: str, seed: int, found: Mapping[str, Any]) -> None:
        """Write the results of a row and a seed."""
        write_whole(self.path(row, seed), json.dumps({"format": FORMAT, **found}, indent=1) + "\n")

    def check_budget(self, budget: float) -> None:
        """Raise an error if there are results with another budget."""
        for found in self:
            if found["budget"] != budget:
                raise InputError(
                    "`budget` must be that of the results in `output_dir`. Received: "
                    f"budget={budget:g}, and results with budget={found['budget']:g}. Use that "
                    "budget, or choose another output directory."
                )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (found for row in self.suite.rows for found in self.of(row))
