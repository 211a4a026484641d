"""What can be measured about impressions without data: how well they satisfy the teacher."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.calibration_error import log_softmax

DUPLICATE_DISTANCE = 0.02
_COMPARED = 1_000
_SIDE = 32


def measure_impressions(
    impressions: Mapping[str, np.ndarray],
    input_range: tuple[float, float] = (0.0, 1.0),
    temperature: float = 1.0,
) -> dict[str, Any]:
    """Measure how well impressions satisfy the teacher, and how much they differ from each other.

    None of it says whether a person would recognise them: a classifier can be sure of pictures that
    look like nothing.

    Args:
        impressions: What `TransferSet.arrays` gives: `image` `(N, ...)`, `target` `(N, K)`, `label`
            `(N,)`, `logits` `(N, K)` and `gap` `(N,)`.
        input_range: `(low, high)` of the pixels.
        temperature: `tau` of the synthesis, positive.

    Returns:
        "num_impressions"; "mean_gap" in nats; "mean_confidence", the teacher's highest probability
        at temperature 1; "mean_entropy" of its answers at temperature 1, in nats; "named_as_label",
        the share that it names as the class conditioned on; "named_as_target", the share that it
        names as the largest class of the target; "median_nearest_distance" and "near_duplicates":
        root mean square pixel difference to the nearest other impression as a share of the range,
        and the share of impressions nearer than 0.02, both over the first 1,000, None for a single
        one; "shared_layout", see `shared_layout`. Arrays of one entry for each impression: "asked",
        the largest class of the target, "asked_share" and "reached_share", the probability that the
        target and the teacher at `tau` give it, "said", the class that the teacher names, and
        "entropy". `(K, K)` integers "counts": conditioned on the row, named the column.

    Raises:
        InputError: If there are none, or they disagree in number.
    """
    logits = np.asarray(impressions["logits"], np.float64)
    target = np.asarray(impressions["target"], np.float64)
    label = np.asarray(impressions["label"])
    sizes = {name: len(impressions[name]) for name in ("image", "target", "label", "logits", "gap")}
    if len(set(sizes.values())) != 1 or not len(label):
        raise InputError(
            f"Impressions with {sizes} entries were received; expected the same number of each, "
            "one at least, as TransferSet.arrays() gives."
        )
    log_p = log_softmax(logits)
    entropy = -(np.exp(log_p) * log_p).sum(axis=1)
    each = np.arange(len(label))
    asked, said = target.argmax(axis=1), logits.argmax(axis=1)
    counts = np.zeros((logits.shape[1],) * 2, np.int64)
    np.add.at(counts, (label, said), 1)
    nearest = nearest_distances(np.asarray(impressions["image"])[:_COMPARED], input_range)
    return {
        "num_impressions": len(label),
        "mean_gap": float(np.mean(impressions["gap"])),
        "mean_confidence": float(np.exp(log_p.max(axis=1)).mean()),
        "mean_entropy": float(entropy.mean()),
        "named_as_label": float((said == label).mean()),
        "named_as_target": float((said == asked).mean()),
        "median_nearest_distance": float(np.median(nearest)) if len(nearest) else None,
        "shared_layout": shared_layout(impressions["image"], said),
        "near_duplicates": float((nearest < DUPLICATE_DISTANCE).mean()) if len(nearest) else None,
        "asked": asked,
        "asked_share": target[each, asked],
        "reached_share": np.exp(log_softmax(logits / temperature))[each, asked],
        "said": said,
        "entropy": entropy,
        "counts": counts,
    }


def nearest_distances(images: np.ndarray, input_range: tuple[float, float]) -> np.ndarray:
    """Root mean square difference of each image to its nearest other, as a share of the range.

    Images larger than 32 pixels are compared at that size. `(N,)`, or `(0,)` for a single image.
    """
    if len(images) < 2:
        return np.zeros(0)
    flat = _flat(images) / (input_range[1] - input_range[0])
    squares = np.square(flat).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * flat @ flat.T
    np.fill_diagonal(distances, np.inf)
    # What cancels below float64's precision is a distance of 0.
    return np.asarray(np.sqrt(np.maximum(distances.min(axis=1), 0.0) / flat.shape[1]))


def shared_layout(images: np.ndarray, classes: np.ndarray) -> float | None:
    """How often the nearest mean picture of a class tells the class of an image, on pixels alone.

    Each image is compared with the mean of every class, its own class' mean without it, by
    Euclidean distance; the share of hits is balanced over the classes. Pictures of things that
    stand upright in the middle, digits or clothes, have a layout in common and score far above
    chance, `1 / K`; textures that only the classifier can read score about that. At chance a person
    will hardly recognise anything; far above it a person may or may not.

    Args:
        images: `(N, ...)`.
        classes: `(N,)` integers, what the teacher names.

    Returns:
        In [0, 1], over the classes with three images at least; None if there are fewer than two.
    """
    present, counts = np.unique(classes, return_counts=True)
    present = present[counts >= 3]
    if len(present) < 2:
        return None
    flat = _flat(np.asarray(images)[np.isin(classes, present)])
    own = np.searchsorted(present, np.asarray(classes)[np.isin(classes, present)])
    member = np.eye(len(present))[own]
    sizes = member.sum(axis=0)
    sums = member.T @ flat
    distances = np.stack(
        [np.square(flat - sums[k] / sizes[k]).sum(axis=1) for k in range(len(present))], axis=1
    )
    without = (sums[own] - flat) / (sizes[own, None] - 1.0)
    distances[np.arange(len(own)), own] = np.square(flat - without).sum(axis=1)
    hits = distances.argmin(axis=1) == own
    return float(np.mean([hits[own == k].mean() for k in range(len(present))]))


def _flat(images: np.ndarray) -> np.ndarray:
    """Pixels `(N, D)` in float64, of images no larger than 32 x 32."""
    images = np.asarray(images, np.float32)
    if images.ndim == 4 and max(images.shape[1:3]) > _SIDE:
        size = [min(side, _SIDE) for side in images.shape[1:3]]
        images = np.asarray(tf.image.resize(images, size, method="area"))
    return images.reshape(len(images), -1).astype(np.float64)
