"""A part of a report."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and what stands below it.

    Attributes:
        title: Of the section, as text.
        body: HTML that fetches nothing and runs nothing.
    """

    title: str
    body: str
