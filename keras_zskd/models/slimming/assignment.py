"""Which of a teacher's channels become one channel of a narrower student."""

import dataclasses
import math

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.channels import Channels, free_parts, root_of
from keras_zskd.models.slimming.clusters import k_means

Places = dict[Channels, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Fold:
    """How an axis of `N` entries is folded to `K`.

    Attributes:
        labels: `(N,)`, the student's entry of each of the teacher's.
        size: `K`.
        factors: `(N,)` of each role (see `WeightAxis`): what an entry is multiplied by before those of
            one label are summed.
    """

    labels: np.ndarray
    size: int
    factors: dict[str, np.ndarray]


_ROLES = ("made", "kept", "used", "dotted")


def unfolded(size: int) -> Fold:
    """Every entry as it is."""
    return Fold(np.arange(size), size, dict.fromkeys(_ROLES, np.ones(size)))


def fold_of(channels: Channels, folds: dict[Channels, Fold]) -> Fold:
    """The fold of any axis, from those of the free axes that it is made of."""
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
            "`student` must be given weights by a fold of the teacher's channels that is the same in "
            f"each of {divisor} pieces of one axis. Received: pieces of different layers. Start from "
            "random weights."
        )
    factors = {role: whole.factors[role][: labels.shape[1]] for role in _ROLES}
    return Fold(labels[0], size, factors)


def places(channels: Channels) -> Places:
    """For each free axis in an axis: which of its channels every position is of, -1 for none."""
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
    """Free axes that an operation cuts into pieces which all must be folded alike.

    Attributes:
        axes: One, where nothing is cut.
        period: Channels of a piece: those that are a period apart have the same cluster, in turn.
    """

    axes: list[Channels]
    period: int


def alike(axes: list[Channels]) -> list[Alike]:
    """Group the free axes among `axes`, and in their parts, by what has to be folded alike."""
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
    """The cluster of each channel of a period.

    Args:
        group: What is folded alike.
        sizes: The student's number of channels of each axis.
        points: `(period, D)`.
        weights: `(period,)`.

    Returns:
        `(period,)` labels, and their number.

    Raises:
        InputError: If the sizes do not fit.
    """
    period = group.period
    repeats = [(axis.size or 1) // period for axis in group.axes]
    # Every block is folded to as many channels: those of one group of a grouped convolution.
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
            "`student` must have no more channels than the teacher in any layer, and multiples of the "
            f"same groups. Received: {[sizes[axis] for axis in group.axes]} channels in place of "
            f"{[axis.size for axis in group.axes]}. Start from random weights."
        )
    per_block = count // blocks
    labels = [
        block * per_block + k_means(points[members], weights[members], per_block)
        for block, members in enumerate(np.arange(period).reshape(blocks, -1))
    ]
    return np.concatenate(labels), count
