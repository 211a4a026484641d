"""Measures of impressions that need no data, such as how well they reach their targets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import Range, comparable
from keras_zskd.core.predictions import probabilities

DUPLICATE_DISTANCE = 0.02
_COMPARED = 1_000
_SIDE = 32


def measure_impressions(
    impressions: Mapping[str, np.ndarray],
    input_range: Range = (0.0, 1.0),
    temperature: float = 1.0,
    is_multi_label: bool = False,
) -> dict[str, Any]:
    """Measure how well impressions reach their targets, and how much they differ from one another.

    These measures do not show whether a person would recognize the impressions: a classifier can be
    confident on unrecognizable images.

    Args:
        impressions: Result of `TransferSet.arrays`: `image` `(N, ...)`, `target` `(N, K)`, `label`
            `(N,)`, `logits` `(N, K)` and `gap` `(N,)`.
        input_range: `(low, high)` of the pixels.
        temperature: `tau` of the synthesis, positive.
        is_multi_label: Whether the teacher is multi-label. Its predicted class is then its most
            likely label, and its entropy the sum of the entropies of the labels.

    Returns:
        A dict with "num_impressions"; "mean_gap" in nats; "mean_confidence", the teacher's highest
        probability at temperature 1; "mean_entropy" of its predictions at temperature 1, in nats;
        "predicted_as_label", the share that it predicts as the conditioning class;
        "predicted_as_target", the share that it predicts as the largest class of the target;
        "median_nearest_distance" and "near_duplicates": the root mean square pixel difference from
        the nearest other impression as a share of the range, and the share of impressions nearer
        than 0.02, both over the first 1,000, None for a single one; "shared_layout", see
        `shared_layout`. Arrays with one entry per impression: "target_class", the largest class of
        the target; "target_share" and "predicted_share", its probability in the target and in the
        teacher's prediction at `tau`; "predicted_class"; and "entropy". Integers "counts" `(K, K)`,
        with the conditioning class as row and the predicted class as column.

    Raises:
        InputError: If there are no impressions, or the arrays differ in length.
    """
    from scipy.special import entr

    logits = np.asarray(impressions["logits"], np.float64)
    target = np.asarray(impressions["target"], np.float64)
    label = np.asarray(impressions["label"])
    sizes = {name: len(impressions[name]) for name in ("image", "target", "label", "logits", "gap")}
    if len(set(sizes.values())) != 1 or not len(label):
        raise InputError(
            "`impressions` must hold arrays of equal length, with at least one impression. "
            f"Received: lengths {sizes}. Pass the result of TransferSet.arrays()."
        )
    predicted = probabilities(logits, is_multi_label)
    entropy = entr(predicted).sum(axis=1)
    if is_multi_label:
        entropy += entr(1.0 - predicted).sum(axis=1)
    each = np.arange(len(label))
    target_class, predicted_class = target.argmax(axis=1), logits.argmax(axis=1)
    counts = np.zeros((logits.shape[1],) * 2, np.int64)
    np.add.at(counts, (label, predicted_class), 1)
    nearest = nearest_distances(np.asarray(impressions["image"])[:_COMPARED], input_range)
    return {
        "num_impressions": len(label),
        "mean_gap": float(np.mean(impressions["gap"])),
        "mean_confidence": float(predicted.max(axis=1).mean()),
        "mean_entropy": float(entropy.mean()),
        "predicted_as_label": float((predicted_class == label).mean()),
        "predicted_as_target": float((predicted_class == target_class).mean()),
        "median_nearest_distance": float(np.median(nearest)) if len(nearest) else None,
        "shared_layout": shared_layout(impressions["image"], predicted_class),
        "near_duplicates": float((nearest < DUPLICATE_DISTANCE).mean()) if len(nearest) else None,
        "target_class": target_class,
        "target_share": target[each, target_class],
        "predicted_share": probabilities(logits, is_multi_label, temperature)[each, target_class],
        "predicted_class": predicted_class,
        "entropy": entropy,
        "counts": counts,
    }


def nearest_distances(images: np.ndarray, input_range: Range) -> np.ndarray:
    """Root mean square difference of each image from its nearest other, as a share of the range.

    Images larger than 32 pixels are compared at that size. Returns `(N,)`, or `(0,)` for one image.
    """
    if len(images) < 2:
        return np.zeros(0)
    images, (low, high) = comparable(images, input_range)
    flat = _flat(images) / (high - low)
    squares = np.square(flat).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2.0 * flat @ flat.T
    np.fill_diagonal(distances, np.inf)
    # Differences below float64 precision count as 0.
    return np.asarray(np.sqrt(np.maximum(distances.min(axis=1), 0.0) / flat.shape[1]))


def effective_rank(features: np.ndarray) -> float:
    """Return the effective rank of features `(N, D)`: between 1 and the smaller of `N` and `D`.

    `exp(H(s / sum s))` with the entropy `H` and the singular values `s` of the centered features:
    the number of directions in which the examples differ. It is 1 if all examples are equal.

    References:
        Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    features = np.asarray(features, np.float64)
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    if not values.sum() > 0:
        return 1.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def shared_layout(images: np.ndarray, classes: np.ndarray) -> float | None:
    """Accuracy of a nearest-class-mean classifier on the pixels of the images.

    Each image is compared with the mean of every class by Euclidean distance, leaving the image out
    of the mean of its own class. The accuracy is balanced over the classes. Images of upright,
    centered objects, such as digits or clothes, share a layout and score far above chance, `1 / K`.
    Textures that only the classifier recognizes score near chance. A person will hardly recognize
    images that score near chance, and may or may not recognize those that score far above it.

    Args:
        images: `(N, ...)`.
        classes: Integers `(N,)`, the classes that the teacher predicts.

    Returns:
        A value in [0, 1], over the classes with at least three images; None if fewer than two
        classes have them.
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
    """Pixels `(N, D)` in float64, of images resized to at most 32 x 32."""
    images = np.asarray(images, np.float32)
    if images.ndim == 4 and max(images.shape[1:3]) > _SIDE:
        size = [min(side, _SIDE) for side in images.shape[1:3]]
        images = np.asarray(tf.image.resize(images, size, method="area"))
    return images.reshape(len(images), -1).astype(np.float64)
