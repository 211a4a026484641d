"""Families of pictures `(H, W, C)`; see `Draws` for the definition of a family."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.inputs.procedural.draws import Draws
from keras_zskd.inputs.procedural.fields import (
    bands,
    coverage,
    enlarged,
    field,
    grid,
    lit,
    per_picture,
    rounded,
)

# Standard deviations of object colors: luminance, blue to yellow, green to red.
_COLORS = (0.22, 0.07, 0.04)
_NUM_TEXTURES = 3


def noise(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate `1/f^a` noise in natural colors, a ~ U(0.5, 2)."""
    height, width, channels = shape
    planes = []
    for number, stddev in enumerate(_COLORS if channels > 1 else _COLORS[:1]):
        plane = field(draws, height, width, draws.uniform(1, 0.5, 2.0), 2 if number else 1)
        planes.append(stddev * plane + per_picture(draws.normal(1, stddev / 2))[0])
    return lit(draws, bands(*_three(planes), channels))


def leaves(draws: Draws, shape: tuple[int, ...], count: int = 24) -> Any:
    """Generate dead leaves: textured, overlapping shapes (Lee et al., 2001).

    Their radii have the density `r^-3`. Like photographs, such pictures have edges and occlusion
    and are scale-invariant.
    """
    return lit(draws, bands(*_leaves(draws, shape, count), shape[-1]))


def things(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate an object with a pattern of dead leaves on a dark or light background."""
    height, width, channels = shape
    y, x = grid(height, width)
    shift_y, shift_x = per_picture(draws.normal(2, 0.15))
    size_y, size_x, roundness, side, tint = per_picture(draws.uniform(5))
    size_y, size_x = 0.35 + 0.65 * size_y, 0.35 + 0.65 * size_x
    distance = rounded((y - shift_y) / size_y, (x - shift_x) / size_x, roundness)
    inside = coverage(distance, tf.minimum(size_y, size_x), min(height, width))[..., None]
    thing = lit(draws, bands(*_leaves(draws, shape, 9), channels))
    ground = tf.where(side < 0.5, 0.1 * tint**2, 1.0 - 0.1 * tint**2)[..., None]
    return ground + inside * (thing - ground)


def strokes(draws: Draws, shape: tuple[int, ...], count: int = 3, pieces: int = 10) -> Any:
    """Generate up to three curved strokes of equal width, light on dark or dark on light."""
    height, width, channels = shape
    y, x = grid(height, width)
    used, thickness, softness, side, ink = per_picture(draws.uniform(5))
    thickness = 0.05 + 0.15 * thickness
    nearest = tf.fill((1, 1, 1), 10.0)
    for number in range(count):
        # A quadratic Bezier curve, as a chain of line segments.
        points = tf.reshape(draws.normal(6, 0.45), (-1, 3, 2))
        t = np.linspace(0.0, 1.0, pieces + 1, dtype="float32")
        weights = np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2])
        curve = tf.einsum("npc,pt->ntc", points, weights)
        found = _to_chain(y, x, curve)
        nearest = tf.where(used * count < number, nearest, tf.minimum(nearest, found))
    edge = 2.0 / min(height, width) * (0.5 + 2.0 * softness)
    inked = tf.clip_by_value((thickness - nearest) / edge + 0.5, 0.0, 1.0) * (1.0 - 0.3 * ink**2)
    gray = tf.where(side < 0.5, inked, 1.0 - inked)
    colors = [per_picture(draws.normal(1, s))[0] for s in _COLORS[1:]] if channels > 1 else []
    tinted = bands(*_three([gray, *(inked * color for color in colors)]), channels)
    return tf.clip_by_value(tinted, 0.0, 1.0)


def hierarchy(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate uniform noise at all scales, independently for each channel.

    A mask joins it with a second such picture or with a plain color.
    """
    height, width, channels = shape
    one, other = (_all_scales(draws, shape) for _ in range(2))
    mask = field(draws, height, width, 2.0, finest=4)
    (flat,) = per_picture(draws.uniform(1))
    color = tf.reshape(draws.uniform(channels), (-1, 1, 1, channels))
    other = tf.where(flat[..., None] < 0.5, color, other)
    return tf.where(mask[..., None] > 0, one, other)


def networks(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate pictures from noise with an untrained generator network with oriented filters.

    Its kernels are wavelets with random directions. Each picture has its own noise and its own gain
    per channel and layer (after Baradad et al., NeurIPS 2021, whose StyleGAN is larger).
    """
    height, width, channels = shape
    random = np.random.default_rng(0)
    size_y, size_x = max(2, -(-height // 8)), max(2, -(-width // 8))
    hidden = tf.reshape(draws.normal(size_y * size_x * 16), (-1, size_y, size_x, 16))
    for number, filters in enumerate((16, 12, 8, 8)):
        kernel = _oriented(random, hidden.shape[-1], filters)
        hidden = tf.nn.conv2d(hidden, kernel, 1, "SAME")
        gains = tf.reshape(draws.normal(filters), (-1, 1, 1, filters))
        biases = tf.reshape(draws.normal(filters, 0.3), (-1, 1, 1, filters))
        hidden = tf.nn.leaky_relu(hidden * gains + biases, 0.2)
        hidden *= tf.math.rsqrt(tf.reduce_mean(hidden**2, [1, 2, 3], keepdims=True) + 1e-6)
        if number < 3:
            size_y, size_x = (height, width) if number == 2 else (2 * size_y, 2 * size_x)
            hidden = enlarged(hidden, size_y, size_x)
            strength = draws.uniform(1, 0.0, 0.5)
            own = field(draws, size_y, size_x, draws.uniform(1, 0.5, 1.5), 2)
            hidden += (strength[..., None] * own)[..., None]
    mixing = tf.reshape(draws.normal(3 * 8, 1.0), (-1, 1, 8, 3))
    planes = tf.matmul(hidden, tf.broadcast_to(mixing, (tf.shape(hidden)[0], height, 8, 3)))
    planes -= tf.reduce_mean(planes, [1, 2], keepdims=True)
    planes *= tf.math.rsqrt(tf.reduce_mean(planes**2, [1, 2], keepdims=True) + 1e-6)
    parts = [stddev * planes[..., i] for i, stddev in enumerate(_COLORS)]
    return lit(draws, bands(*_three(parts), channels))


def _leaves(draws: Draws, shape: tuple[int, ...], count: int) -> tuple[Any, Any, Any]:
    """Generate planes with values around 0: luminance and, for color, two opponent colors."""
    height, width, channels = shape
    stddevs = _COLORS if channels > 1 else _COLORS[:1]
    textures = [
        field(draws, height, width, draws.uniform(1, 0.5, 2.0)) for _ in range(_NUM_TEXTURES)
    ]
    planes = [
        stddev * (per_picture(draws.normal(1))[0] + 0.7 * texture)
        for stddev, texture in zip(stddevs, textures, strict=False)
    ]
    y, x = grid(height, width)
    smallest, largest = 0.12, 1.4  # In units of half the side.
    # One leaf per texture in each round of a loop, which compiles in a tenth of the time.
    rounds = -(-count // _NUM_TEXTURES)
    forms = draws.uniform(rounds * _NUM_TEXTURES * 6)
    colors = draws.normal(rounds * _NUM_TEXTURES * (len(stddevs) + 1))
    forms = _by_round(forms, rounds, (_NUM_TEXTURES, 6))
    colors = _by_round(colors, rounds, (_NUM_TEXTURES, len(stddevs) + 1))

    def paint(step: Any, *planes: Any) -> Any:
        painted, form, color = list(planes), forms[step], colors[step]
        for number, texture in enumerate(textures):
            u, at_y, at_x, stretch, turn, roundness = per_picture(form[:, number])
            # The inverse of the cumulative distribution function of the density r^-3.
            radius = tf.math.rsqrt(largest**-2 + u * (smallest**-2 - largest**-2))
            stretch, turn = tf.exp(1.8 * (stretch - 0.5)), np.pi * turn
            dy, dx = y - (2.4 * at_y - 1.2), x - (2.4 * at_x - 1.2)
            along = (tf.cos(turn) * dx + tf.sin(turn) * dy) / stretch
            across = (tf.cos(turn) * dy - tf.sin(turn) * dx) * stretch
            distance = rounded(across, along, 2.0 * roundness - 1.0) / radius
            inside = coverage(distance, radius, min(height, width))
            gain, *levels = per_picture(color[:, number])
            for i, (stddev, level) in enumerate(zip(stddevs, levels, strict=True)):
                painted[i] += inside * (stddev * (level + 0.4 * gain * texture) - painted[i])
        return step + 1, *painted

    _, *planes = tf.while_loop(
        lambda step, *planes: step < rounds, paint, (0, *planes), maximum_iterations=rounds
    )
    return _three(planes)


def _by_round(numbers: Any, rounds: int, shape: tuple[int, ...]) -> Any:
    """Reshape numbers `(N, rounds * K)` to `(rounds, N, *shape)`."""
    order = (1, 0, *range(2, 2 + len(shape)))
    return tf.transpose(tf.reshape(numbers, (-1, rounds, *shape)), order)


def _three(planes: list[Any]) -> tuple[Any, Any, Any]:
    """Return three planes from one or three."""
    luminance, blue_yellow, green_red = planes if len(planes) == 3 else planes * 3
    return luminance, blue_yellow, green_red


def _to_chain(y: Any, x: Any, points: Any) -> Any:
    """Compute the distance `(N, H, W)` of each pixel to a chain of segments through `(N, P, 2)`."""
    # Each operation computes all segments at once: tracing thirty of each took most of a second.
    begin_y, begin_x = _by_segment(points[:, :-1])
    along_y, along_x = _by_segment(points[:, 1:] - points[:, :-1])
    dy, dx = y - begin_y, x - begin_x
    length = along_y**2 + along_x**2 + 1e-8
    share = tf.clip_by_value((dy * along_y + dx * along_x) / length, 0.0, 1.0)
    squares = (dy - share * along_y) ** 2 + (dx - share * along_x) ** 2
    return tf.sqrt(tf.reduce_min(squares, axis=0) + 1e-12)


def _by_segment(points: Any) -> list[Any]:
    """Split points `(N, P, 2)` into two tensors `(P, N, 1, 1)`."""
    return tf.unstack(tf.transpose(points, (2, 1, 0))[..., None, None])


def _all_scales(draws: Draws, shape: tuple[int, ...]) -> Any:
    height, width, channels = shape
    sizes = [1]
    while sizes[-1] < max(height, width):
        sizes.append(2 * sizes[-1])
    shares = tf.nn.softmax(draws.normal(len(sizes)))
    total: Any = 0.0
    for number, size in enumerate(sizes):
        rows, columns = min(size, height), min(size, width)
        coarse = tf.reshape(draws.uniform(rows * columns * channels), (-1, rows, columns, channels))
        total += tf.reshape(shares[:, number], (-1, 1, 1, 1)) * enlarged(coarse, height, width)
    return tf.clip_by_value(total, 0.0, 1.0)


def _oriented(random: np.random.Generator, channels: int, filters: int) -> np.ndarray:
    """Create 3x3 wavelet kernels `(3, 3, channels, filters)`.

    Each input channel gets an edge, a line or a mean filter in a random direction, multiplied by a
    normal number for each output channel.
    """
    y, x = np.mgrid[-1:2, -1:2]
    kernel = np.empty((3, 3, channels, filters))
    for channel in range(channels):
        angle = random.integers(8) * np.pi / 8
        across = np.cos(angle) * x + np.sin(angle) * y
        wavelets = (np.sign(np.round(across, 6)), 1.0 - 1.5 * np.abs(across), np.ones((3, 3)))
        chosen = wavelets[random.integers(3)]
        chosen = chosen / np.linalg.norm(chosen)
        kernel[:, :, channel] = chosen[..., None] * random.standard_normal(filters)
    return (kernel / np.sqrt(channels)).astype("float32")
