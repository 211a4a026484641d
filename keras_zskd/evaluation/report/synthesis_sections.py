"""The parts of a report that show impressions: pictures, what was measured, where models look."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.attention import attention_maps
from keras_zskd.evaluation.impression_measures import DUPLICATE_DISTANCE, measure_impressions
from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.pieces import PICTURE_SIZE, card, small, table
from keras_zskd.evaluation.report.run_summary import percent_text
from keras_zskd.evaluation.report.section import Section

_CLASSES = 20
_PER_CLASS = 10
_EXPLAINED = 8


def impression_sections(
    impressions: Mapping[str, np.ndarray],
    input_range: tuple[float, float],
    temperature: float,
    models: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
) -> list[Section]:
    """Pictures, figures and charts of a transfer set, and where models look in it.

    Args:
        impressions: What `TransferSet.arrays(limit)` gives.
        input_range: `(low, high)` of the pixels.
        temperature: `tau` of the synthesis.
        models: Keras classifiers to explain, by name; the first is the teacher.
        class_names: In the order of the outputs. Defaults to their numbers.
    """
    measures = measure_impressions(impressions, input_range, temperature)
    names = class_names or [str(number) for number in range(measures["counts"].shape[0])]
    return [
        _gallery(impressions, measures, input_range, names, temperature),
        _honesty(measures),
        _charts(impressions, measures, names),
        *_attention(impressions, input_range, models),
    ]


def _gallery(
    impressions: Mapping[str, np.ndarray],
    measures: Mapping[str, Any],
    input_range: tuple[float, float],
    names: Sequence[str],
    temperature: float,
) -> Section:
    """Impressions by class, with target and achieved confidence under each."""
    images, asked = np.asarray(impressions["image"]), measures["asked"]
    classes = np.unique(asked)
    rows = []
    for number in classes[:_CLASSES]:
        members = np.flatnonzero(asked == number)
        name = html.escape(names[number])
        mean = images[members].mean(axis=0, keepdims=True)
        stretched = (float(mean.min()), float(mean.max()) + 1e-6)
        figures = [_figure(small(mean, stretched)[0], f"mean of {name}", f"mean of {len(members)}")]
        chosen = members[:_PER_CLASS]
        for i, picture in zip(chosen, small(images[chosen], input_range), strict=True):
            caption = f"{measures['asked_share'][i]:.2f} → {measures['reached_share'][i]:.2f}"
            if measures["said"][i] != number:
                caption += (
                    f'<br><span class="miss">{html.escape(names[measures["said"][i]])}</span>'
                )
            figures.append(_figure(picture, f"impression of {name}", caption))
        rows.append(
            f'<div class="class"><b>{name}</b><div class="strip">{"".join(figures)}</div></div>'
        )
    more = f" The first {_CLASSES} of {len(classes)} classes." if len(classes) > _CLASSES else ""
    return Section(
        "Impressions",
        "<p>Rows: the largest class of the target. First the mean of all, its "
        "contrast stretched; then single ones, each with the probability that the target asks for "
        f"→ the one that the teacher gives, both at the temperature of the synthesis, "
        f'{temperature:g}. <span class="miss">In colour</span>: what the teacher names where that '
        f'is another class.{more}</p><div class="classes">{"".join(rows)}</div>',
    )


def _figure(picture: np.ndarray, what: str, caption: str) -> str:
    return (
        f'<figure><img src="{pictures.data_uri(picture)}" alt="{what}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _honesty(measures: Mapping[str, Any]) -> Section:
    """How well the teacher is satisfied, and what that does not say."""
    distance = measures["median_nearest_distance"]
    facts = {
        "impressions looked at": f"{measures['num_impressions']:,}",
        "mean gap (cross-entropy less entropy of the target)": f"{measures['mean_gap']:.3f} nats",
        "mean confidence of the teacher, temperature 1": percent_text(measures["mean_confidence"]),
        "named by the teacher as the class conditioned on": percent_text(
            measures["named_as_label"]
        ),
        "named by the teacher as the largest class of the target": percent_text(
            measures["named_as_target"]
        ),
        "class found by the nearest mean picture, on pixels alone (guessing: "
        f"{percent_text(1.0 / len(measures['counts']))})": percent_text(measures["shared_layout"]),
        "median distance to the nearest other impression (share of the pixel range)": (
            "-" if distance is None else f"{distance:.3f}"
        ),
        f"near-duplicates (nearer than {DUPLICATE_DISTANCE})": percent_text(
            measures["near_duplicates"]
        ),
    }
    return Section(
        "How recognizable are they?",
        f"{table(facts)}<p>{' '.join(_verdict(measures))}</p>"
        '<p class="note"><b>Privacy.</b> Impressions are made from the weights alone, but the '
        "weights were made from data, and what the teacher remembers of it can come back in them. "
        "Treat these pictures as you would treat the teacher itself, and read no promise of "
        "anonymity into them.</p>",
    )


def _verdict(measures: Mapping[str, Any]) -> list[str]:
    """Sentences that follow from the numbers, and what the numbers cannot say."""
    hit, gap = measures["named_as_target"], measures["mean_gap"]
    duplicates = measures["near_duplicates"]
    said = []
    if hit >= 0.95:
        said.append("The teacher sees in nearly all of them what was asked for.")
    elif hit >= 0.7:
        said.append("The teacher sees in most of them, not in all, what was asked for.")
    else:
        said.append(
            "The teacher often sees something else than was asked for: these impressions are poor; "
            "more steps, a lower synthesis temperature or a right input range may help."
        )
    if gap > 0.3:
        said.append(
            f"A mean gap of {gap:.2f} nats says that the targets are not reached: what the teacher "
            "can say inside the pixel range falls short of them."
        )
    if duplicates is not None and duplicates > 0.05:
        said.append(f"{percent_text(duplicates)} are close copies of another: variety is lacking.")
    layout, chance = measures["shared_layout"], 1.0 / len(measures["counts"])
    if layout is not None:
        said.append(
            "On pixels alone, the nearest mean picture of a class finds the class of "
            f"{percent_text(layout)} of the impressions, guessing that of {percent_text(chance)}: "
            + (
                "the impressions of a class have little in common that an eye could see; they are "
                "textures that the teacher reads, not pictures of its classes."
                if layout < 3.0 * chance and layout < 0.6
                else "the impressions of a class share a layout that an eye may see in its mean."
            )
        )
    said.append(
        "None of these numbers says that a person would recognise the pictures: a classifier can "
        "be sure of what looks like texture or noise to us. No such test was made; look at the "
        "pictures above, and take one that looks like its class as a hint, not as evidence of "
        "quality. What counts for the student is its agreement with the teacher."
    )
    return said


def _charts(
    impressions: Mapping[str, np.ndarray], measures: Mapping[str, Any], names: Sequence[str]
) -> Section:
    """Class balance, gap and entropy."""
    counts = measures["counts"]
    balance = {
        "conditioned on": counts.sum(axis=1).tolist(),
        "largest of the target": np.bincount(measures["asked"], minlength=len(counts)).tolist(),
        "named by the teacher": counts.sum(axis=0).tolist(),
    }
    limit = np.log(len(counts))
    cards = [
        card("Class balance", charts.bar_chart(names, balance, "class", "Impressions by class")),
        card(
            "Target against achieved confidence",
            charts.scatter(
                measures["asked_share"],
                measures["reached_share"],
                "largest probability of the target; up: what the teacher gives it",
                "Achieved by target confidence, one dot for each impression",
            ),
        ),
        card(
            "Gap of the impressions",
            charts.histogram(impressions["gap"], "nats; 0 is reached", "Histogram of the gap"),
        ),
        card(
            "Entropy of the teacher's answers",
            charts.histogram(
                measures["entropy"],
                f"nats at temperature 1; at most {limit:.2f}",
                "Histogram of the entropy of the teacher's answers",
            ),
        ),
    ]
    return Section("Synthesis", f'<div class="charts">{"".join(cards)}</div>')


def _attention(
    impressions: Mapping[str, np.ndarray],
    input_range: tuple[float, float],
    models: Mapping[str, Any],
) -> list[Section]:
    """Impressions with the maps of each model below them, or why there are none."""
    if np.ndim(impressions["image"]) != 4 or not models:
        return []
    title = "Where they look"
    named = impressions["logits"][:_EXPLAINED].argmax(-1)
    try:
        attention = attention_maps(models, impressions["image"][:_EXPLAINED], named)
    except Exception as error:  # A picture that fails must not cost a finished student.
        reason = html.escape(f"{type(error).__name__}: {error}")
        return [Section(title, f"<p>Attention maps could not be made. {reason}</p>")]
    count = min(len(maps) for maps in attention.values())
    images = np.asarray(impressions["image"])[:count]
    rows = {"impression": small(images, input_range)}
    for name, maps in attention.items():
        rows[name] = pictures.resize(
            pictures.overlay(images, maps[:count], input_range), PICTURE_SIZE
        )
    rows_html = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(
            f'<td><img src="{pictures.data_uri(picture)}" alt="{html.escape(name)}"></td>'
            for picture in shown
        )
        + "</tr>"
        for name, shown in rows.items()
    )
    body = (
        "<p>Orange: the pixels that speak for the class that the teacher names (Grad-CAM++; "
        "saliency for a model without convolutions). Each map is stretched over its own range, so "
        "that places can be compared between pictures, strengths cannot.</p>"
        f'<div class="scroll"><table class="looks">{rows_html}</table></div>'
    )
    return [Section(title, body)]
