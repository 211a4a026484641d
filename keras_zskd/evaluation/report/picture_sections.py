"""The part of a report that shows procedural pictures, and what the teacher said of them."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.report.section import Section

_SHOWN = 8
_PICTURE = 64


def picture_section(
    families: Mapping[str, np.ndarray], figures: Mapping[str, Mapping[str, Any]]
) -> Section:
    """A row for each family: pictures, and the figures that decided its share.

    Args:
        families: Some pictures `(N, H, W, C)` of each family, in [0, 1]; other inputs are not shown.
        figures: Of each family, by heading.
    """
    headings = list(next(iter(figures.values())))
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    rows = []
    for name, values in figures.items():
        cells = "".join(f'<td class="short">{html.escape(str(values[h]))}</td>' for h in headings)
        rows.append(
            f'<tr><th scope="row">{html.escape(name)}</th>{cells}{_strip(families[name])}</tr>'
        )
    return Section(
        "Pictures drawn by formula",
        "<p>The student also sees pictures that are drawn by formula, fresh in every batch; no data is "
        "in them. The teacher chose the mixture: families on which its predictions are confident and "
        "spread over the classes (mutual information, in nat), and whose activations are near its "
        "batch normalization statistics (distance, in nat; 0 where it has none), get a larger share."
        f'</p><div class="scroll"><table class="looks"><tr><td></td>{head}<td></td></tr>'
        f"{''.join(rows)}</table></div>",
    )


def starts_section(starts: np.ndarray, impressions: np.ndarray, input_range: Any) -> Section:
    """What impressions started from, above what they became.

    Args:
        starts: `(N, H, W, C)` in [0, 1].
        impressions: The same impressions, in `input_range`.
        input_range: `(low, high)`.
    """
    rows = (
        f'<tr><th scope="row">start</th>{_strip(starts)}</tr>'
        f'<tr><th scope="row">impression</th>{_strip(impressions, input_range)}</tr>'
    )
    return Section(
        "From pictures to impressions",
        "<p>An impression starts as a picture and is changed until the teacher predicts what it is "
        f'asked for.</p><div class="scroll"><table class="looks">{rows}</table></div>',
    )


def _strip(images: np.ndarray, input_range: tuple[float, float] = (0.0, 1.0)) -> str:
    if np.ndim(images) != 4:
        return ""
    small = pictures.resize(pictures.to_pixels(images[:_SHOWN], input_range), _PICTURE)
    return "".join(f'<td><img src="{pictures.data_uri(one)}" alt="picture"></td>' for one in small)
