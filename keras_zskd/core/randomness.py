"""Random numbers keyed by (seed, index of the impression).

All random numbers of an impression come from its own key. Impression 4,711 of seed 0 is therefore
the same picture for every batch size and every number of replicas, workers and interruptions. The
generator is numpy's Philox (Salmon et al., SC 2011). Its counter starts at a position given by the
index, so the streams of two impressions never overlap.
"""

from typing import Any

import numpy as np


def generator(seed: int, salt: int, index: int) -> np.random.Generator:
    """Return the random generator of one impression.

    Args:
        seed: Seed of the run, 0 or more.
        salt: Distinguishes the uses of one seed, 0 or more.
        index: Index of the impression, 0 or more.
    """
    key = np.array([seed, salt], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(index)]))


def normals(seed: int, salt: int, indices: Any, count: int) -> np.ndarray:
    """Draw standard normal numbers, `count` per impression: `(N, count)` float32."""
    drawn = np.empty((len(indices), count), np.float32)
    for row, index in zip(drawn, indices, strict=True):
        generator(seed, salt, index).standard_normal(dtype=np.float32, out=row)
    return drawn


def uniforms(seed: int, salt: int, indices: Any, count: int) -> np.ndarray:
    """Draw uniform numbers in [0, 1), `count` per impression: `(N, count)` float32."""
    drawn = np.empty((len(indices), count), np.float32)
    for row, index in zip(drawn, indices, strict=True):
        generator(seed, salt, index).random(dtype=np.float32, out=row)
    return drawn


def log_gammas(seed: int, salt: int, indices: Any, concentrations: np.ndarray) -> np.ndarray:
    """Draw logarithms of gamma variates, accurate for concentrations far below 1.

    A gamma variate with a shape `a` far below 1 underflows. `Gamma(a + 1) * U^(1/a)` has the same
    distribution as `Gamma(a)` (Marsaglia and Tsang, 2000), and its logarithm does not underflow.

    Args:
        seed: Seed of the run.
        salt: Distinguishes the uses of one seed.
        indices: `(N,)` integers, indices of the impressions.
        concentrations: `(N, K)`, positive.

    Returns:
        `(N, K)` float64.
    """
    shapes = np.asarray(concentrations, np.float64)
    drawn = np.empty_like(shapes)
    for row, index, shape in zip(drawn, indices, shapes, strict=True):
        random = generator(seed, salt, index)
        gamma = random.standard_gamma(shape + 1.0)
        # In (0, 1], since the logarithm of 0 is not finite.
        row[:] = np.log(gamma) + np.log(1.0 - random.random(len(shape))) / shape
    return drawn


def derived_seed(seed: int, number: int) -> int:
    """Derive separate seeds in [0, 2^32) for the random parts of a run, one for each `number`."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
