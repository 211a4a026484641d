"""The part of a report that shows procedural pictures, and what the teacher said of them."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.report.pieces import small
from keras_zskd.evaluation.report.section import Section
from keras_zskd.inputs.procedural_pictures import ProceduralPictures

_SHOWN = 8


def picture_section(
    shape: tuple[int, ...], ratings: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]
) -> Section:
    """A row for each family: pictures, and the figures that decided its share.

    Args:
        shape: Of one input; only pictures `(H, W, C)` are shown.
        ratings: Of each family, by name: "mutual information" and "distance", in nat.
        shares: Of the families that were drawn.
    """
    rows = []
    for name, rating in ratings.items():
        figures = [f"{rating['mutual information']:.2f}", f"{rating['distance']:.2f}"]
        cells = "".join(
            f'<td class="short">{figure}</td>'
            for figure in (*figures, f"{shares.get(name, 0):.0%}")
        )
        drawn = ProceduralPictures(shape, shares={name: 1.0}).keyed(0, range(_SHOWN))
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}{_strip(drawn)}</tr>')
    headings = ("mutual information", "distance", "share")
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    return Section(
        "Pictures drawn by formula",
        "<p>The student also sees pictures that are drawn by formula, fresh in every batch; no data is "
        "in them. The teacher chose the mixture: families on which its predictions are confident and "
        "spread over the classes (mutual information, in nat), and whose activations are near its "
        "batch normalization statistics (distance, in nat; 0 where it has none), get a larger share."
        f'</p><div class="scroll"><table class="looks"><tr><td></td>{head}</tr>'
        f"{''.join(rows)}</table></div>",
    )


def starts_section(
    shares: Mapping[str, float], seed: int, impressions: np.ndarray, input_range: Any
) -> Section:
    """What impressions started from, above what they became.

    Args:
        shares: Of the families that they started from.
        seed: Of the run.
        impressions: `(N, *input_shape)` in `input_range`, the first of the run.
        input_range: `(low, high)`.
    """
    count = min(_SHOWN, len(impressions))
    starts = ProceduralPictures(impressions.shape[1:], shares=shares).keyed(seed, range(count))
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
    shown = small(images[:_SHOWN], input_range)
    return "".join(f'<td><img src="{pictures.data_uri(one)}" alt="picture"></td>' for one in shown)
