"""Sections of a report on impressions: images, measures, charts and attention maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_zskd.core.input_range import Range
from keras_zskd.evaluation import pictures
from keras_zskd.evaluation.attention import attention_maps
from keras_zskd.evaluation.impression_measures import DUPLICATE_DISTANCE, measure_impressions
from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.rendering import PICTURE_SIZE, render, small
from keras_zskd.evaluation.report.section import Section

_CLASSES = 20
_PER_CLASS = 10
_EXPLAINED = 8


def impression_sections(
    impressions: Mapping[str, np.ndarray],
    input_range: Range,
    temperature: float,
    models: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    is_multi_label: bool = False,
) -> list[Section]:
    """Create the sections with images, measures, charts and attention maps of a transfer set.

    Args:
        impressions: Result of `TransferSet.arrays(limit)`.
        input_range: `(low, high)` of the pixels.
        temperature: `tau` of the synthesis.
        models: Keras classifiers for the attention maps, by name; the first is the teacher.
        class_names: Names of the classes, in the order of the outputs. Defaults to their indices.
        is_multi_label: Whether the teacher is multi-label.
    """
    measures = measure_impressions(impressions, input_range, temperature, is_multi_label)
    names = class_names or [str(number) for number in range(measures["counts"].shape[0])]
    return [
        _gallery(impressions, measures, input_range, names, temperature),
        _measures(measures),
        _charts(impressions, measures, names, is_multi_label),
        *_attention(impressions, input_range, models),
    ]


def _gallery(
    impressions: Mapping[str, np.ndarray],
    measures: Mapping[str, Any],
    input_range: Range,
    names: Sequence[str],
    temperature: float,
) -> Section:
    """Impressions by class, each with target and achieved confidence."""
    images = np.asarray(impressions["image"])
    target_class, predicted_class = measures["target_class"], measures["predicted_class"]
    numbers = np.unique(target_class)
    classes = []
    for number in numbers[:_CLASSES]:
        members = np.flatnonzero(target_class == number)
        mean = images[members].mean(axis=0, keepdims=True)
        stretched = (float(mean.min()), float(mean.max()) + 1e-6)
        chosen = members[:_PER_CLASS]
        shown = [
            {
                "picture": picture,
                "target": measures["target_share"][i],
                "reached": measures["predicted_share"][i],
                "miss": None if predicted_class[i] == number else names[predicted_class[i]],
            }
            for i, picture in zip(chosen, small(images[chosen], input_range), strict=True)
        ]
        classes.append(
            {
                "name": names[number],
                "count": len(members),
                "mean": small(mean, stretched)[0],
                "shown": shown,
            }
        )
    body = render(
        "impressions.html", classes=classes, num_classes=len(numbers), temperature=temperature
    )
    return Section("Impressions", body)


def _measures(measures: Mapping[str, Any]) -> Section:
    """Measures of the impressions, what follows from them, and their limits."""
    body = render(
        "measures.html",
        measures=measures,
        chance=1.0 / len(measures["counts"]),
        duplicate_distance=DUPLICATE_DISTANCE,
    )
    return Section("How recognizable are they?", body)


def _charts(
    impressions: Mapping[str, np.ndarray],
    measures: Mapping[str, Any],
    names: Sequence[str],
    is_multi_label: bool,
) -> Section:
    """Charts of class balance, confidence, gap and entropy."""
    counts = measures["counts"]
    balance = {
        "conditioning class": counts.sum(axis=1).tolist(),
        "largest class of the target": np.bincount(
            measures["target_class"], minlength=len(counts)
        ).tolist(),
        "predicted by the teacher": counts.sum(axis=0).tolist(),
    }
    limit = len(counts) * np.log(2) if is_multi_label else np.log(len(counts))
    drawn = {
        "Class balance": charts.bar_chart(names, balance, "class", "Impressions by class"),
        "Target and achieved confidence": charts.scatter(
            measures["target_share"],
            measures["predicted_share"],
            "largest probability of the target",
            "predicted by the teacher",
            "Achieved by target confidence, one dot per impression",
        ),
        "Gap of the impressions": charts.histogram(
            impressions["gap"], "nats; 0 means that the target is reached", "Histogram of the gap"
        ),
        "Entropy of the teacher's predictions": charts.histogram(
            measures["entropy"],
            f"nats at temperature 1; at most {limit:.2f}",
            "Histogram of the entropy of the teacher's predictions",
        ),
    }
    return Section("Synthesis", render("cards.html", charts=drawn))


def _attention(
    impressions: Mapping[str, np.ndarray],
    input_range: Range,
    models: Mapping[str, Any],
) -> list[Section]:
    """Impressions with the attention maps of each model, or the reason why there are none."""
    if np.ndim(impressions["image"]) != 4 or not models:
        return []
    title = "Attention maps"
    named = impressions["logits"][:_EXPLAINED].argmax(-1)
    try:
        attention = attention_maps(models, impressions["image"][:_EXPLAINED], named)
    except Exception as error:  # A failed image must not discard a finished student.
        reason = f"{type(error).__name__}: {error}"
        return [Section(title, f"Attention maps could not be computed. {reason}")]
    count = min(len(maps) for maps in attention.values())
    images = np.asarray(impressions["image"])[:count]
    rows = [{"name": "impression", "pictures": small(images, input_range)}]
    for name, maps in attention.items():
        shown = pictures.overlay(images, maps[:count], input_range)
        rows.append({"name": name, "pictures": pictures.resize(shown, PICTURE_SIZE)})
    body = render(
        "picture_rows.html",
        text="Orange pixels are evidence for the class that the teacher predicts (Grad-CAM++; "
        "saliency for a model without convolutions). Each map is scaled to its own range, so "
        "positions can be compared between images, but intensities cannot.",
        rows=rows,
    )
    return [Section(title, body)]
