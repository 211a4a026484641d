"""Assignment of a teacher's channels to the channels of a narrower student."""

import dataclasses
import math

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.channels import Channels, free_parts, root_of
from keras_zskd.models.slimming.clusters import k_means

Places = dict[Channels, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Fold:
    """A fold of an axis from `N` entries to `K` entries.

    Attributes:
        labels: `(N,)`, index of the student's entry for each entry of the teacher.
        size: Number of entries `K` of the student.
        factors: For each role (see `WeightAxis`), `(N,)` factors that multiply the entries before
            those with the same label are added.
    """

    labels: np.ndarray
    size: int
    factors: dict[str, np.ndarray]


_ROLES = ("made", "kept", "used", "dotted")


def unfolded(size: int) -> Fold:
    """Return the identity fold."""
    return Fold(np.arange(size), size, dict.fromkeys(_ROLES, np.ones(size)))


def fold_of(channels: Channels, folds: dict[Channels, Fold]) -> Fold:
    """Return the fold of any axis, from the folds of its free axes."""
    root = root_of(channels)
    if not root.parts:
        return folds[root] if root in folds else unfolded(root.size or 1)
    parts = [fold_of(part, folds) for part in root.parts]
    if root.kind == "quotient":
        return _first_piece(parts[0], root.divisor)
    combine = _end_to_end if root.kind == "total" else _crossed
    whole = parts[0]
    for part in parts[1:]:
        whole = combine(whole, part)
    return whole


def _end_to_end(a: Fold, b: Fold) -> Fold:
    factors = {role: np.concatenate([a.factors[role], b.factors[role]]) for role in _ROLES}
    return Fold(np.concatenate([a.labels, a.size + b.labels]), a.size + b.size, factors)


def _crossed(a: Fold, b: Fold) -> Fold:
    factors = {role: np.outer(a.factors[role], b.factors[role]).ravel() for role in _ROLES}
    labels = (a.labels[:, None] * b.size + b.labels).ravel()
    return Fold(labels, a.size * b.size, factors)


def _first_piece(whole: Fold, divisor: int) -> Fold:
    labels, size = whole.labels.reshape(divisor, -1), whole.size // divisor
    if whole.size % divisor or (labels != labels[0] + size * np.arange(divisor)[:, None]).any():
        raise InputError(
            "`student` must fold the teacher's channels in the same way in each of the "
            f"{divisor} pieces of an axis. Received: pieces of different layers. Start from random "
            "weights."
        )
    factors = {role: whole.factors[role][: labels.shape[1]] for role in _ROLES}
    return Fold(labels[0], size, factors)


def places(channels: Channels) -> Places:
    """Return, for each free axis in an axis, the channel at each position, or -1 for none."""
    root = root_of(channels)
    if root.kind == "free":
        return {root: np.arange(root.size or 1)}
    found: Places = {}
    sizes = [part.size or 1 for part in root.parts]
    for number, part in enumerate(root.parts):
        for axis, index in places(part).items():
            if root.kind == "product":
                shape = [-1 if n == number else 1 for n in range(len(sizes))]
                found[axis] = np.broadcast_to(index.reshape(shape), sizes).ravel()
            elif root.kind == "quotient":
                found[axis] = index[: root.size]
            else:
                begin = sum(sizes[:number])
                held = found.setdefault(axis, np.full(root.size or 1, -1))
                held[begin : begin + len(index)] = index
    return found


@dataclasses.dataclass
class Alike:
    """Free axes split by an operation into pieces that must be folded in the same way.

    Attributes:
        axes: The free axes; only one if nothing is split.
        period: Number of channels per piece. Channels one period apart are folded in the same way.
    """

    axes: list[Channels]
    period: int


def alike(axes: list[Channels]) -> list[Alike]:
    """Group the free axes in `axes` and their parts that must be folded in the same way."""
    group_of: dict[Channels, Alike] = {}
    for channels in axes:
        for axis in free_parts(channels):
            group_of.setdefault(axis, Alike([axis], axis.size or 1))
    for cut in _quotients(axes):
        (part,) = cut.parts
        found, length = places(part), cut.size or 1
        for axis, index in found.items():
            for other, others in found.items():
                pieces = index[:-length], others[length:]
                both = (pieces[0] >= 0) & (pieces[1] >= 0)
                if not both.any():
                    continue
                a, b = group_of[axis], group_of[other]
                if a is not b:
                    a.axes.extend(b.axes)
                    group_of.update(dict.fromkeys(b.axes, a))
                shifts = np.unique(pieces[0][both] - pieces[1][both])
                a.period = math.gcd(a.period, b.period, *shifts.tolist())
    return list({id(group): group for group in group_of.values()}.values())


def _quotients(axes: list[Channels]) -> list[Channels]:
    found: dict[Channels, None] = {}
    waiting = [root_of(axis) for axis in axes]
    while waiting:
        root = waiting.pop()
        if root.kind == "quotient":
            found[root] = None
        waiting.extend(root_of(part) for part in root.parts)
    return list(found)


def clusters(
    group: Alike, sizes: dict[Channels, int], points: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, int]:
    """Cluster the channels of one period.

    Args:
        group: The axes that are folded in the same way.
        sizes: The student's number of channels of each axis.
        points: `(period, D)`, the points to cluster.
        weights: `(period,)`, the weights of the points.

    Returns:
        Labels `(period,)` and the number of clusters.

    Raises:
        InputError: If the sizes do not match.
    """
    period = group.period
    repeats = [(axis.size or 1) // period for axis in group.axes]
    # A block holds the channels of one group of a grouped convolution. All blocks get equally many.
    blocks = math.lcm(
        *(math.lcm(axis.multiple, n) // n for axis, n in zip(group.axes, repeats, strict=True))
    )
    wanted = {sizes[axis] / n for axis, n in zip(group.axes, repeats, strict=True)}
    count = int(min(wanted))
    if (
        len(wanted) > 1
        or count not in wanted
        or count > period
        or count % blocks
        or period % blocks
    ):
        raise InputError(
            "`student` must have at most as many channels as the teacher in each layer, and "
            f"multiples of the same groups. Received: {[sizes[axis] for axis in group.axes]} "
            f"channels instead of {[axis.size for axis in group.axes]}. Start from random weights."
        )
    per_block = count // blocks
    labels = [
        block * per_block + k_means(points[members], weights[members], per_block)
        for block, members in enumerate(np.arange(period).reshape(blocks, -1))
    ]
    return np.concatenate(labels), count
