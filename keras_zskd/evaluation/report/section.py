"""A section of a report."""

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading and the content below it.

    Attributes:
        title: Title of the section, as plain text.
        body: `markupsafe.Markup`, HTML without external resources and scripts. A plain string is
            shown as text.
    """

    title: str
    body: "Markup | str"
