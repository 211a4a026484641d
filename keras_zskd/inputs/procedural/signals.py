"""Families of inputs that are not images: signals `(T, C)` and rows of a table `(D,)`."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.inputs.procedural.draws import Draws
from keras_zskd.inputs.procedural.fields import field, log_uniform

_NUM_FACTORS = 4


def smooth(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate signals with `1/f^a` noise in each channel, a ~ U(0.5, 2.5)."""
    steps, channels = shape
    parts = [
        # One row of pixels. In one dimension, `field` needs an exponent that is larger by 1/2.
        field(draws, 1, steps, draws.uniform(1, 1.0, 3.0))[:, 0]
        for _ in range(channels)
    ]
    return _scaled(draws, tf.stack(parts, axis=-1))


def waves(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate two sinusoids with drifting frequency, bell-shaped envelope and weak noise."""
    steps, channels = shape
    time = tf.linspace(0.0, 1.0, steps)[None, :, None]
    total = 0.1 * tf.reshape(draws.normal(steps * channels), (-1, steps, channels))
    for _ in range(2):
        rate = log_uniform(draws, 1, 0.5, steps / 4)[..., None]
        drift = draws.normal(1, 0.3)[..., None]
        phase = draws.uniform(channels, 0.0, 2 * math.pi)[:, None]
        gain = draws.normal(channels)[:, None]
        center, spread = draws.uniform(1)[..., None], log_uniform(draws, 1, 0.1, 3.0)[..., None]
        bell = tf.exp(-0.5 * ((time - center) / spread) ** 2)
        total += gain * bell * tf.sin(2 * math.pi * rate * time * (1.0 + drift * time) + phase)
    return _scaled(draws, total)


def piecewise(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate signals that jump between up to eight levels, with a slope and weak noise."""
    steps, channels = shape
    time = tf.linspace(0.0, 1.0, steps)[None, :, None]
    total = 0.1 * tf.reshape(draws.normal(steps * channels), (-1, steps, channels))
    for _ in range(7):
        jump = draws.uniform(1)[..., None]
        sharpness = log_uniform(draws, 1, 10.0, 500.0)[..., None]
        total += draws.normal(channels)[:, None] * tf.sigmoid(sharpness * (time - jump))
    return _scaled(draws, total + draws.normal(channels)[:, None] * time)


def correlated(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate Gaussian features with a few common factors, whose share varies by example."""
    size = math.prod(shape)
    loadings = np.random.default_rng(0).standard_normal((_NUM_FACTORS, size)) / 2.0
    shared = tf.matmul(draws.normal(_NUM_FACTORS), loadings.astype("float32"))
    share = draws.uniform(1)
    mixed = tf.sqrt(share) * shared + tf.sqrt(1.0 - share) * draws.normal(size)
    return _clipped(0.2 * mixed, shape)


def heavy(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate independent features with heavy tails."""
    normal = draws.normal(math.prod(shape))
    return _clipped(0.12 * normal * tf.abs(normal), shape)


def uniform(draws: Draws, shape: tuple[int, ...]) -> Any:
    """Generate independent features, uniform over their range."""
    return tf.reshape(draws.uniform(math.prod(shape)), (-1, *shape))


def _scaled(draws: Draws, signal: Any) -> Any:
    """Scale signals to a random level and a random amplitude in [0, 1]."""
    signal -= tf.reduce_mean(signal, [1, 2], keepdims=True)
    signal *= tf.math.rsqrt(tf.reduce_mean(signal**2, [1, 2], keepdims=True) + 1e-6)
    level, amplitude = draws.normal(1, 0.1)[..., None], log_uniform(draws, 1, 0.05, 0.3)[..., None]
    return tf.clip_by_value(0.5 + level + amplitude * signal, 0.0, 1.0)


def _clipped(values: Any, shape: tuple[int, ...]) -> Any:
    return tf.reshape(tf.clip_by_value(0.5 + values, 0.0, 1.0), (-1, *shape))
