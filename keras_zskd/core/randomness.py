"""Randomness keyed by (seed, index of the impression).

Every draw that shapes an impression comes from its own key, so impression 4,711 of seed 0 is the same
picture whatever the batch size, the number of replicas, of workers or of interruptions. The keyed
generator is Philox (Salmon et al., SC 2011), as numpy has it: its counter starts where the index
says, so the streams of two impressions never meet.
"""

from typing import Any

import numpy as np


def generator(seed: int, salt: int, index: int) -> np.random.Generator:
    """The generator of one impression.

    Args:
        seed: Seed of the run, 0 or more.
        salt: Tells apart the uses of one seed, 0 or more.
        index: The impression, 0 or more.
    """
    key = np.array([seed, salt], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(index)]))


def normals(seed: int, salt: int, indices: Any, count: int) -> np.ndarray:
    """Standard normal numbers, `count` for each impression: `(N, count)` float32."""
    drawn = np.empty((len(indices), count), np.float32)
    for row, index in zip(drawn, indices, strict=True):
        generator(seed, salt, index).standard_normal(dtype=np.float32, out=row)
    return drawn


def uniforms(seed: int, salt: int, indices: Any, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), `count` for each impression: `(N, count)` float32."""
    drawn = np.empty((len(indices), count), np.float32)
    for row, index in zip(drawn, indices, strict=True):
        generator(seed, salt, index).random(dtype=np.float32, out=row)
    return drawn


def log_gammas(seed: int, salt: int, indices: Any, concentrations: np.ndarray) -> np.ndarray:
    """Logarithms of gamma variates, safe for concentrations far below 1.

    A gamma variate of shape `a` well below 1 underflows. `Gamma(a + 1) * U^(1/a)` is distributed as
    `Gamma(a)` (Marsaglia and Tsang, 2000), and its logarithm does not underflow.

    Args:
        seed: Seed of the run.
        salt: Tells apart the uses of one seed.
        indices: `(N,)` integers, the impressions.
        concentrations: `(N, K)` positive.

    Returns:
        `(N, K)` float64.
    """
    shapes = np.asarray(concentrations, np.float64)
    drawn = np.empty_like(shapes)
    for row, index, shape in zip(drawn, indices, shapes, strict=True):
        random = generator(seed, salt, index)
        gamma = random.standard_gamma(shape + 1.0)
        # In (0, 1]: the logarithm of 0 would be the end.
        row[:] = np.log(gamma) + np.log(1.0 - random.random(len(shape))) / shape
    return drawn
