"""A section of a report."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the content below it.

    Attributes:
        title: Title of the section, as plain text.
        body: HTML without external resources and scripts.
    """

    title: str
    body: str
