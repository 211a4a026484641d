"""`Suite`: the rows of a benchmark, as plain data."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A teacher and its student.

    Attributes:
        title: Title that is printed above its table.
        teacher: Name of the teacher's architecture in `keras_zskd.models.ARCHITECTURES`.
        student: Name of the student's architecture, or a width in (0, 1] of the teacher.
        published: Published accuracy of the teacher in percent.
    """

    title: str
    teacher: str
    student: str | float
    published: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One system.

    Attributes:
        name: Unique name, also used for its files.
        title: Title in the table.
        method: A name in `METHODS`, or "package.module:Class".
        preset: Preset of the method.
        settings: Settings of the method, which update the preset.
        counts: Names of the settings that are scaled to the budget. Defaults to those of the method;
            with none, the settings are used as they are.
        pair: Name of its pair in the suite.
        start: "random" for a student with random weights, "teacher" for one with the teacher's.
        data: TFDS name of the data that the method reads; empty for none.
        published: Published accuracy in percent.
        seeds: Number of seeds.
        tier: Order of importance, from 1; lower tiers run first.
        x: Position in the figure of accuracy against number of impressions, in percent of the
            training set; None if the row is not part of it.
    """

    name: str
    title: str
    method: str
    preset: str = "default"
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    counts: Sequence[str] | None = None
    pair: str
    start: str = "random"
    data: str = ""
    published: float | None = None
    seeds: int = 3
    tier: int = 1
    x: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suite:
    """Systems that are compared on one dataset.

    Attributes:
        name: Name on the command line.
        title: Title that is printed above the tables.
        dataset: TFDS name; its test split is used for evaluation only.
        budget: Cost of each run, in forward passes of the teacher; see `Tally`.
        minutes: Approximate time of a run on two cores.
        teachers: Settings of `train` by architecture.
        pairs: Pairs by name.
        rows: The systems.
    """

    name: str
    title: str
    dataset: str
    budget: float
    minutes: float
    teachers: Mapping[str, Mapping[str, Any]]
    pairs: Mapping[str, Pair]
    rows: Sequence[Row]

    def as_json(self) -> dict[str, Any]:
        """Return the suite as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Suite":
        """Create a suite from the result of `as_json`."""
        pairs = {name: Pair(**pair) for name, pair in data["pairs"].items()}
        return cls(**{**data, "pairs": pairs, "rows": tuple(Row(**row) for row in data["rows"])})

    def row(self, name: str) -> Row:
        """Return the row with a name."""
        return next(row for row in self.rows if row.name == name)
