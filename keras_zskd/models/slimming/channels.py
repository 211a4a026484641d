"""The arithmetic of `slim`: which axes of a network may shrink, and which must have equal lengths.

Every axis of every tensor in the original graph is a `Channels`. The output channels of a
convolution are *free*; a concatenation is the *total* of its parts, `Flatten` a *product*, a
channel shuffle goes through a *quotient*; pixels, classes and all axes tied to them are *fixed*. A
residual addition *ties* two axes. Once the whole graph has been read, `narrowed` returns the length
of any axis at any width.
"""

import math


class Channels:
    """The length of one axis in the original network, and how to compute it in a narrower one.

    Use the functions of this module to create and relate axes.

    Args:
        size: Length of the axis in the original; None if unknown (the batch).
        kind: "free", "fixed", "total", "product" or "quotient".
        parts: Operands of a total, product or quotient.
        divisor: Divisor of a quotient.
    """

    def __init__(
        self,
        size: int | None,
        kind: str,
        parts: tuple["Channels", ...] = (),
        divisor: int = 1,
    ):
        self.size = size
        self.kind = kind
        self.parts = parts
        self.divisor = divisor
        self.multiple = 1  # Grouped convolutions need a multiple of their groups.
        self.same_as: Channels | None = None  # Union-find: the representative of this axis.

    def __repr__(self) -> str:
        root = root_of(self)
        return f"<Channels {root.size} {root.kind}>"


def fixed(size: int | None) -> Channels:
    """Create an axis with the same length in the narrower network."""
    return Channels(size, "fixed")


def free(size: int) -> Channels:
    """Create an axis whose length is an argument of a layer."""
    return Channels(size, "free")


def total(parts: list[Channels]) -> Channels:
    """Create the axis of a concatenation of `parts`."""
    flat: list[Channels] = []
    for part in parts:
        root = root_of(part)
        flat.extend(root.parts if root.kind == "total" else [root])
    sizes = [part.size for part in flat]
    if any(size is None for size in sizes) or all(is_fixed(part) for part in flat):
        return _all_fixed(flat, None if None in sizes else sum(s for s in sizes if s is not None))
    return Channels(sum(s for s in sizes if s is not None), "total", tuple(flat))


def product(parts: list[Channels]) -> Channels:
    """Create the axis that merges `parts`, as `Flatten` does."""
    factors = [root_of(part) for part in parts if part.size != 1]
    sizes = [part.size for part in factors]
    if any(size is None for size in sizes) or all(is_fixed(part) for part in factors):
        return _all_fixed(
            factors, None if None in sizes else math.prod(s for s in sizes if s is not None)
        )
    if len(factors) == 1:
        return factors[0]
    return Channels(math.prod(s for s in sizes if s is not None), "product", tuple(factors))


def quotient(part: Channels, divisor: int) -> Channels:
    """Create the axis of one of `divisor` equal pieces of `part`."""
    if divisor == 1:
        return part
    if part.size is None or part.size % divisor:
        pin(part)
        return fixed(None)
    require_multiple(part, divisor)
    return Channels(part.size // divisor, "quotient", (part,), divisor)


def is_fixed(channels: Channels) -> bool:
    """Whether no part of an axis may shrink."""
    root = root_of(channels)
    return root.kind == "fixed" or (bool(root.parts) and all(map(is_fixed, root.parts)))


def pin(channels: Channels) -> None:
    """Keep the original length of an axis and all of its parts."""
    root = root_of(channels)
    for part in root.parts:
        pin(part)
    root.kind, root.parts = "fixed", ()


def tie(first: Channels, second: Channels) -> None:
    """Require two axes to have the same length, as for the operands of an addition."""
    a, b = root_of(first), root_of(second)
    if a is b or a.size is None or a.size != b.size:
        return
    if is_fixed(a) or is_fixed(b):
        pin(a)
        pin(b)
    elif a.kind == "free" and not _contains(b, a):
        require_multiple(b, a.multiple)
    elif b.kind == "free" and not _contains(a, b):
        a, b = b, a
        require_multiple(b, a.multiple)
    elif _alike(a, b):
        for part, other in zip(a.parts, b.parts, strict=True):
            tie(part, other)
    else:
        # Different compositions of the same length, such as 64 + 32 and 48 + 48, agree only at full
        # size.
        pin(a)
        pin(b)
    a, b = root_of(a), root_of(b)
    if a is not b:
        a.same_as = b


def require_multiple(channels: Channels, multiple: int) -> None:
    """Allow only multiples of `multiple`; pin the axis if this cannot be guaranteed."""
    root = root_of(channels)
    if multiple == 1 or is_fixed(root):
        return
    if root.kind == "free":
        root.multiple = math.lcm(root.multiple, multiple)
        return
    sizes = [part.size or 0 for part in root.parts]
    if root.kind == "quotient":
        require_multiple(root.parts[0], multiple * root.divisor)
    elif root.kind == "total" and all(size % multiple == 0 for size in sizes):
        for part in root.parts:
            require_multiple(part, multiple)
    elif root.kind == "product" and any(size % multiple == 0 for size in sizes):
        part = next(p for p in root.parts if (p.size or 0) % multiple == 0)
        require_multiple(part, multiple)
    else:
        pin(root)


def regroup(axes: list[Channels], shape: list[int | None]) -> list[Channels]:
    """Return the axes after a reshape from `axes` to `shape`, matched from the last axis."""
    axes = [axis for axis in axes if axis.size != 1]
    out: list[Channels] = []
    while shape:
        size = shape.pop()
        if size == 1:
            out.insert(0, fixed(1))
            continue
        if size is None or not axes or axes[-1].size is None:
            # The batch, possibly merged with other axes, which must then keep their length.
            for axis in axes:
                pin(axis)
            return [*(fixed(s) for s in shape), fixed(size), *out]
        merged, split = [axes.pop()], [size]
        while (have := math.prod(a.size or 0 for a in merged)) != (want := math.prod(split)):
            more = axes if have < want else shape
            item = more.pop() if more else None
            if item is None or (isinstance(item, Channels) and item.size is None):
                for axis in (*axes, *merged):
                    pin(axis)
                return [*(fixed(s) for s in shape), *(fixed(s) for s in split), *out]
            if isinstance(item, Channels):
                merged.insert(0, item)
            else:
                split.insert(0, item)
        out = _block(merged, split) + out
    return out


def narrowed(channels: Channels, width: float) -> int | None:
    """Return the length of an axis at a given width; call it once the whole graph is known.

    A free axis of `c` channels gets `c * width`, rounded to the nearest whole number (halves up),
    at least 1, or to the nearest multiple that its grouped convolutions need.

    Args:
        channels: The axis.
        width: In (0, 1].

    Returns:
        The length, or None for an axis of unknown length.
    """
    root = root_of(channels)
    if root.kind == "fixed" or root.size is None:
        return root.size
    if root.kind == "free":
        step = root.multiple
        return step * max(1, math.floor(root.size * width / step + 0.5))
    lengths = [narrowed(part, width) or 0 for part in root.parts]
    if root.kind == "total":
        return sum(lengths)
    if root.kind == "product":
        return math.prod(lengths)
    return lengths[0] // root.divisor


def root_of(channels: Channels) -> Channels:
    """Return the representative of all axes tied to this one."""
    while channels.same_as is not None:
        channels = channels.same_as
    return channels


def _all_fixed(parts: list[Channels], size: int | None) -> Channels:
    for part in parts:
        pin(part)
    return fixed(size)


def _alike(a: Channels, b: Channels) -> bool:
    sizes = [part.size for part in a.parts], [part.size for part in b.parts]
    return a.kind == b.kind and a.divisor == b.divisor and sizes[0] == sizes[1]


def _contains(whole: Channels, part: Channels) -> bool:
    """Whether `whole` depends on `part`: tying them would make a cycle."""
    root = root_of(whole)
    return root is part or any(_contains(inner, part) for inner in root.parts)


def _block(merged: list[Channels], split: list[int]) -> list[Channels]:
    if len(split) == 1:
        return [product(merged)]
    if len(merged) == 1:
        # Groups or heads: their number is kept and their size shrinks.
        *outer, _ = split
        return [*(fixed(size) for size in outer), quotient(merged[0], math.prod(outer))]
    for axis in merged:
        pin(axis)
    return [fixed(size) for size in split]


def free_parts(channels: Channels) -> list[Channels]:
    """Return the free axes in an axis."""
    root = root_of(channels)
    if root.kind == "free":
        return [root]
    return [free_part for part in root.parts for free_part in free_parts(part)]
