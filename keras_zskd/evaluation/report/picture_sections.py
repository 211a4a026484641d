"""Sections of a report on procedural pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_zskd.evaluation.report.rendering import render, small
from keras_zskd.evaluation.report.section import Section
from keras_zskd.inputs.procedural_pictures import ProceduralPictures

_SHOWN = 8


def picture_section(
    shape: tuple[int, ...], ratings: Mapping[str, Mapping[str, float]], shares: Mapping[str, float]
) -> Section:
    """Create a section with a row per family, the largest share first: pictures and ratings.

    Args:
        shape: Shape of one input; only pictures `(H, W, C)` are shown.
        ratings: Ratings of each family by name: "mutual information" and "distance", in nats.
        shares: Shares of the families that were used.
    """
    columns = ["mutual information"]
    criterion = (
        "Families get a larger share if its predictions on them are confident and spread over the "
        "classes (mutual information, in nats)"
    )
    if any(rating["distance"] for rating in ratings.values()):  # Zero without batch normalization.
        columns.append("distance")
        criterion += (
            ", and if their activations are close to its batch normalization statistics (distance, "
            "in nats)"
        )
    ordered = sorted(
        ratings, key=lambda name: (-shares.get(name, 0), -ratings[name]["mutual information"])
    )
    rows = [
        {
            "name": name,
            "figures": [
                f"{shares.get(name, 0):.0%}",
                *(f"{ratings[name][column]:.2f}" for column in columns),
            ],
            "pictures": _shown(
                ProceduralPictures(shape, shares={name: 1.0}).keyed(0, range(_SHOWN))
            ),
        }
        for name in ordered
    ]
    body = render(
        "picture_rows.html",
        text="The student is also trained on procedural pictures, new in every batch, which contain "
        f"no data. The mixture depends on the teacher. {criterion}.",
        headings=("share", *columns),
        rows=rows,
    )
    return Section("Procedural pictures", body)


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
    body = render(
        "picture_rows.html",
        text="An impression starts as a picture and is optimized until the teacher predicts its "
        "target.",
        rows=[
            {"name": "start", "pictures": _shown(starts)},
            {"name": "impression", "pictures": _shown(impressions, input_range)},
        ],
    )
    return Section("From pictures to impressions", body)


def _shown(
    images: np.ndarray, input_range: tuple[float, float] = (0.0, 1.0)
) -> Sequence[np.ndarray] | np.ndarray:
    return small(images[:_SHOWN], input_range) if np.ndim(images) == 4 else ()
