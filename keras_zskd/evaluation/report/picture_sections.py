"""Sections of a report on procedural pictures."""

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
    """Create a section with a row per family: pictures, and the ratings that determine its share.

    Args:
        shape: Shape of one input; only pictures `(H, W, C)` are shown.
        ratings: Ratings of each family by name: "mutual information" and "distance", in nats.
        shares: Shares of the families that were used.
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
        "Procedural pictures",
        "<p>The student is also trained on procedural pictures, new in every batch, which contain "
        "no data. The mixture depends on the teacher. Families get a larger share if its "
        "predictions on them are confident and spread over the classes (mutual information, in "
        "nats), and if their activations are close to its batch normalization statistics "
        "(distance, in nats; 0 without batch normalization).</p>"
        f'<div class="scroll"><table class="looks"><tr><td></td>{head}</tr>'
        f"{''.join(rows)}</table></div>",
    )


def starts_section(
    shares: Mapping[str, float], seed: int, impressions: np.ndarray, input_range: Any
) -> Section:
    """Create a section with the initial pictures of impressions above the results.

    Args:
        shares: Shares of the families of the initial pictures.
        seed: Seed of the run.
        impressions: The first impressions of the run, `(N, *input_shape)` in `input_range`.
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
        "<p>An impression starts as a picture and is optimized until the teacher predicts its "
        f'target.</p><div class="scroll"><table class="looks">{rows}</table></div>',
    )


def _strip(images: np.ndarray, input_range: tuple[float, float] = (0.0, 1.0)) -> str:
    if np.ndim(images) != 4:
        return ""
    shown = small(images[:_SHOWN], input_range)
    return "".join(f'<td><img src="{pictures.data_uri(one)}" alt="picture"></td>' for one in shown)
