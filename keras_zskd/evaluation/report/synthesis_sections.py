"""Sections of a report on impressions: images, measures, charts and attention maps."""

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
    """Create the sections with images, measures, charts and attention maps of a transfer set.

    Args:
        impressions: Result of `TransferSet.arrays(limit)`.
        input_range: `(low, high)` of the pixels.
        temperature: `tau` of the synthesis.
        models: Keras classifiers for the attention maps, by name; the first is the teacher.
        class_names: Names of the classes, in the order of the outputs. Defaults to their indices.
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
    """Impressions by class, each with target and achieved confidence."""
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
    more = (
        f" Only the first {_CLASSES} of {len(classes)} classes are shown."
        if len(classes) > _CLASSES
        else ""
    )
    return Section(
        "Impressions",
        "<p>Each row shows one class, the largest of the target. The first image is the mean of "
        "all impressions with stretched contrast. The others are single impressions, each with the "
        "probability in the target → the probability that the teacher predicts, both at the "
        f'temperature of the synthesis, {temperature:g}. <span class="miss">Colored text</span> is '
        f"the class that the teacher predicts if it differs.{more}</p>"
        f'<div class="classes">{"".join(rows)}</div>',
    )


def _figure(picture: np.ndarray, what: str, caption: str) -> str:
    return (
        f'<figure><img src="{pictures.data_uri(picture)}" alt="{what}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _honesty(measures: Mapping[str, Any]) -> Section:
    """Measures of the impressions, and their limits."""
    distance = measures["median_nearest_distance"]
    facts = {
        "impressions evaluated": f"{measures['num_impressions']:,}",
        "mean gap (cross-entropy minus entropy of the target)": f"{measures['mean_gap']:.3f} nats",
        "mean confidence of the teacher at temperature 1": percent_text(
            measures["mean_confidence"]
        ),
        "predicted by the teacher as the conditioning class": percent_text(
            measures["named_as_label"]
        ),
        "predicted by the teacher as the largest class of the target": percent_text(
            measures["named_as_target"]
        ),
        "class found by the nearest class mean of the pixels (chance: "
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
        "weights were trained on data, and impressions can reveal what the teacher memorized. "
        "Treat these images like the teacher itself. They do not guarantee anonymity.</p>",
    )


def _verdict(measures: Mapping[str, Any]) -> list[str]:
    """Sentences that follow from the measures, and the limits of the measures."""
    hit, gap = measures["named_as_target"], measures["mean_gap"]
    duplicates = measures["near_duplicates"]
    said = []
    if hit >= 0.95:
        said.append("The teacher predicts the target class for nearly all impressions.")
    elif hit >= 0.7:
        said.append("The teacher predicts the target class for most impressions, but not for all.")
    else:
        said.append(
            "The teacher often predicts another class than the target class, so these impressions "
            "are poor. More steps, a lower synthesis temperature or the correct input range may "
            "help."
        )
    if gap > 0.3:
        said.append(
            f"A mean gap of {gap:.2f} nats means that the targets are not reached: they are out of "
            "reach of the teacher within the pixel range."
        )
    if duplicates is not None and duplicates > 0.05:
        said.append(f"{percent_text(duplicates)} are near-duplicates: the diversity is low.")
    layout, chance = measures["shared_layout"], 1.0 / len(measures["counts"])
    if layout is not None:
        said.append(
            "The nearest class mean of the pixels finds the class of "
            f"{percent_text(layout)} of the impressions (chance: {percent_text(chance)}): "
            + (
                "the impressions of a class have few visible features in common. They are "
                "textures that the teacher recognizes, not images of its classes."
                if layout < 3.0 * chance and layout < 0.6
                else "the impressions of a class share a layout that may be visible in their mean."
            )
        )
    said.append(
        "These measures do not show whether a person would recognize the images: a classifier can "
        "be confident on textures or noise. This was not tested. An image above that resembles its "
        "class is a hint, not evidence of quality. For the student, only its agreement with the "
        "teacher matters."
    )
    return said


def _charts(
    impressions: Mapping[str, np.ndarray], measures: Mapping[str, Any], names: Sequence[str]
) -> Section:
    """Charts of class balance, confidence, gap and entropy."""
    counts = measures["counts"]
    balance = {
        "conditioning class": counts.sum(axis=1).tolist(),
        "largest class of the target": np.bincount(
            measures["asked"], minlength=len(counts)
        ).tolist(),
        "predicted by the teacher": counts.sum(axis=0).tolist(),
    }
    limit = np.log(len(counts))
    cards = [
        card("Class balance", charts.bar_chart(names, balance, "class", "Impressions by class")),
        card(
            "Target and achieved confidence",
            charts.scatter(
                measures["asked_share"],
                measures["reached_share"],
                "x: largest probability of the target; y: predicted by the teacher",
                "Achieved by target confidence, one dot per impression",
            ),
        ),
        card(
            "Gap of the impressions",
            charts.histogram(
                impressions["gap"],
                "nats; 0 means that the target is reached",
                "Histogram of the gap",
            ),
        ),
        card(
            "Entropy of the teacher's predictions",
            charts.histogram(
                measures["entropy"],
                f"nats at temperature 1; at most {limit:.2f}",
                "Histogram of the entropy of the teacher's predictions",
            ),
        ),
    ]
    return Section("Synthesis", f'<div class="charts">{"".join(cards)}</div>')


def _attention(
    impressions: Mapping[str, np.ndarray],
    input_range: tuple[float, float],
    models: Mapping[str, Any],
) -> list[Section]:
    """Impressions with the attention maps of each model, or the reason why there are none."""
    if np.ndim(impressions["image"]) != 4 or not models:
        return []
    title = "Attention maps"
    named = impressions["logits"][:_EXPLAINED].argmax(-1)
    try:
        attention = attention_maps(models, impressions["image"][:_EXPLAINED], named)
    except Exception as error:  # A failed image must not lose a finished student.
        reason = html.escape(f"{type(error).__name__}: {error}")
        return [Section(title, f"<p>Attention maps could not be computed. {reason}</p>")]
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
        "<p>Orange pixels are evidence for the class that the teacher predicts (Grad-CAM++; "
        "saliency for a model without convolutions). Each map is scaled to its own range, so "
        "positions can be compared between images, but intensities cannot.</p>"
        f'<div class="scroll"><table class="looks">{rows_html}</table></div>'
    )
    return [Section(title, body)]
