"""Feature maps whose channel axis holds blocks of neighboring pixels, and operations on them.

A convolution with few input channels does not use most of the matrix units of a processor. On
blocks it reads `block^2` times as many channels and becomes one dense matrix product, at the cost
of some multiplications by zero. A 2x2 max pooling after it becomes the maximum of four slices of
the channel axis. Its gradient is then a mask and needs no search.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Blocked:
    """Feature maps `(N, H, W, C)` in blocks.

    Attributes:
        values: `(N, H / block, W / block, block^2 * C)`. The channel axis holds the positions in
            the block, C channels each. They are ordered by (y mod 2, x mod 2), then likewise by
            (y // 2, x // 2) and so on: a 2x2 pooling compares the four quarters of the axis.
        block: Size of the blocks, a power of 2.
        shift: Bias `(C,)` still to be added, or None.
        activation: Elementwise function still to be applied after the bias, or None.
    """

    values: Any
    block: int
    shift: Any = None
    activation: Callable[[Any], Any] | None = None

    @property
    def channels(self) -> int:
        """Number of channels `C`."""
        return int(self.values.shape[-1]) // self.block**2

    def resolve(self) -> "Blocked":
        """Add the bias and apply the activation, if there are any."""
        values = self.values
        if self.shift is not None:
            values += tf.tile(self.shift, [self.block**2])
        return Blocked(values if self.activation is None else self.activation(values), self.block)

    def reblock(self, block: int) -> "Blocked":
        """Change the block size; it must divide the height and the width."""
        if block == self.block:
            return self
        maps = self.dense()
        return Blocked(maps if block == 1 else _merge(_split(maps, block), block), block)

    def dense(self) -> Any:
        """Return the maps without blocks, `(N, H, W, C)`."""
        values = self.resolve().values
        if self.block == 1:
            return values
        n, height, width, _ = values.shape
        levels = self.block.bit_length() - 1
        split = tf.reshape(values, (n or -1, height, width, *(2,) * 2 * levels, self.channels))
        # From (y_0, x_0, y_1, x_1, ...), lowest bits first, to (H, ..y_1, y_0) and (W, ..x_1, x_0).
        y = [3 + 2 * level for level in reversed(range(levels))]
        x = [axis + 1 for axis in y]
        joined = tf.transpose(split, [0, 1, *y, 2, *x, 3 + 2 * levels])
        return tf.reshape(joined, (n or -1, height * self.block, width * self.block, self.channels))


def max_pool(maps: Blocked) -> Blocked:
    """Apply 2x2 max pooling with stride 2; `maps.block` must be even.

    The bias and the activation are applied later: a bias and an increasing activation do not change
    the order of the values. As in TensorFlow, the gradient goes to the first of equal values.
    """
    a, b, c, d = tf.split(maps.values, 4, axis=-1)
    values = tf.maximum(tf.maximum(a, b), tf.maximum(c, d))
    return dataclasses.replace(maps, values=values, block=maps.block // 2)


def average_pool(maps: Blocked) -> Blocked:
    """Apply 2x2 average pooling with stride 2; `maps.block` must be even."""
    parts = tf.split(maps.resolve().values, 4, axis=-1)
    return Blocked(tf.add_n(parts) / 4.0, maps.block // 2)


@dataclasses.dataclass(frozen=True)
class BlockConvolution:
    """Geometry of a square convolution on blocks.

    Attributes:
        kernel: Height and width of the kernel.
        stride: Stride in both directions.
        padding: Number of zeros before the first row and the first column.
        size: Height and width of the output.
        block: Block size of the output, a power of 2 that divides `size`.
    """

    kernel: int
    stride: int
    padding: tuple[int, int]
    size: tuple[int, int]
    block: int

    @property
    def block_in(self) -> int:
        """Block size of the input."""
        return self.stride * self.block

    @property
    def lead(self) -> tuple[int, int]:
        """Number of zero blocks before the first row and column of blocks."""
        return tuple(-(-padding // self.block_in) for padding in self.padding)  # type: ignore[return-value]

    @property
    def reach(self) -> tuple[int, int]:
        """Height and width, in blocks, of the input that one output block depends on."""
        last = self.stride * (self.block - 1) + self.kernel
        return tuple(-(-(first + last) // self.block_in) for first in self._first)  # type: ignore[return-value]

    @property
    def _first(self) -> tuple[int, ...]:
        """First row and column read by the first output, counted from the first zero block."""
        return tuple(
            lead * self.block_in - padding
            for lead, padding in zip(self.lead, self.padding, strict=True)
        )

    @property
    def waste(self) -> float:
        """Ratio of the multiplications to those of the plain convolution, 1 or more."""
        return self.reach[0] * self.reach[1] * self.block_in**2 / self.kernel**2

    def weights(self, kernel: Any) -> Any:
        """Convert a kernel `(k, k, C, F)` to blocks: `(reach, reach, block_in^2 C, block^2 F)`.

        Computed as a product with a matrix of zeros and ones, which is exact and has a fast
        gradient.
        """
        channels, features = kernel.shape[2:]
        places = tf.constant(self._places(), kernel.dtype)
        flat = tf.reshape(kernel, (self.kernel**2, channels * features))
        blocks = tf.reshape(
            tf.matmul(tf.reshape(places, (-1, self.kernel**2)), flat),
            (*self.reach, self.block_in**2, self.block**2, channels, features),
        )
        moved = tf.transpose(blocks, (0, 1, 2, 4, 3, 5))
        shape = (*self.reach, self.block_in**2 * channels, self.block**2 * features)
        return tf.reshape(moved, shape)

    def _places(self) -> np.ndarray:
        """Return ones at the places of the kernel: `(reach, reach, block_in^2, block^2, k, k)`."""
        inside = {place: i for i, place in enumerate(positions(self.block_in))}
        places = np.zeros(
            (*self.reach, self.block_in**2, self.block**2, self.kernel, self.kernel), np.float32
        )
        first = self._first
        for out, (y, x) in enumerate(positions(self.block)):
            for row in range(self.kernel):
                for column in range(self.kernel):
                    down, y_inside = divmod(first[0] + y * self.stride + row, self.block_in)
                    right, x_inside = divmod(first[1] + x * self.stride + column, self.block_in)
                    places[down, right, inside[y_inside, x_inside], out, row, column] = 1.0
        return places

    def windows(self, maps: Blocked) -> tuple[Any, tuple[int, int]]:
        """Return the padded or cropped input, and height and width of the output, in blocks."""
        out = tuple(size // self.block for size in self.size)
        values = maps.reblock(self.block_in).resolve().values
        pads = []
        for axis in (0, 1):
            have, want = values.shape[1 + axis], out[axis] + self.reach[axis] - 1 - self.lead[axis]
            pads.append([self.lead[axis], max(0, want - have)])
        wanted = [out[axis] + self.reach[axis] - 1 for axis in (0, 1)]
        if any(any(pad) for pad in pads):
            values = tf.pad(values, [[0, 0], *pads, [0, 0]])
        return values[:, : wanted[0], : wanted[1]], (out[0], out[1])

    def by_matmul(self, maps: Blocked, weights: Any) -> Blocked:
        """Compute the convolution with `weights` on blocks as one matrix product."""
        values, (height, width) = self.windows(maps)
        columns = tf.concat(
            [
                values[:, y : y + height, x : x + width]
                for y in range(self.reach[0])
                for x in range(self.reach[1])
            ],
            axis=-1,
        )
        depth, features = self.reach[0] * self.reach[1] * weights.shape[2], weights.shape[3]
        product = tf.matmul(tf.reshape(columns, (-1, depth)), tf.reshape(weights, (depth, -1)))
        return Blocked(tf.reshape(product, (-1, height, width, features)), self.block)

    def by_convolution(self, maps: Blocked, weights: Any) -> Blocked:
        """Compute the same as `by_matmul`, as one convolution on blocks."""
        values, _ = self.windows(maps)
        return Blocked(tf.nn.conv2d(values, weights, 1, "VALID"), self.block)


def positions(block: int) -> list[tuple[int, int]]:
    """Return the positions (y, x) in a block, in the order of `Blocked.values`."""
    if block == 1:
        return [(0, 0)]
    return [
        (2 * inner_y + y, 2 * inner_x + x)
        for y in (0, 1)
        for x in (0, 1)
        for inner_y, inner_x in positions(block // 2)
    ]


def _split(maps: Any, block: int) -> Any:
    """Reshape `(N, H, W, C)` to `(N, H/b, y bits.., W/b, x bits.., C)`, highest bits first."""
    n, height, width, channels = maps.shape
    bits = (2,) * (block.bit_length() - 1)
    return tf.reshape(maps, (n or -1, height // block, *bits, width // block, *bits, channels))


def _merge(split: Any, block: int) -> Any:
    """Move the bits of the result of `_split` to the last axis: `(N, H/b, W/b, b^2 C)`."""
    n, height, channels = split.shape[0], split.shape[1], split.shape[-1]
    levels = block.bit_length() - 1
    y = [2 + level for level in reversed(range(levels))]
    x = [axis + levels + 1 for axis in y]
    width = split.shape[2 + levels]
    pairs = [axis for pair in zip(y, x, strict=True) for axis in pair]
    moved = tf.transpose(split, [0, 1, 2 + levels, *pairs, 3 + 2 * levels])
    return tf.reshape(moved, (n or -1, height, width, block**2 * channels))
