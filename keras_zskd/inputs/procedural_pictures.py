"""`ProceduralPictures`: an endless source of inputs that are drawn by formula."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.compiled import compiled_on_cpu
from keras_zskd.core.errors import InputError
from keras_zskd.inputs.batching import divided, ready
from keras_zskd.inputs.procedural import images, signals
from keras_zskd.inputs.procedural.blobs import Blobs
from keras_zskd.inputs.procedural.draws import Draws, Family, numbers_of

_SALT = 30
_PLACES = 64
# How many are drawn at once.
AT_ONCE = 256
_IMAGES: dict[str, Family] = {
    "leaves": images.leaves,
    "noise": images.noise,
    "networks": images.networks,
    "things": images.things,
    "blobs": Blobs(),
    "strokes": images.strokes,
    "hierarchy": images.hierarchy,
}
_SIGNALS: dict[str, Family] = {
    "smooth": signals.smooth,
    "waves": signals.waves,
    "piecewise": signals.piecewise,
    "uniform": signals.uniform,
}
_FEATURES: dict[str, Family] = {
    "correlated": signals.correlated,
    "heavy": signals.heavy,
    "uniform": signals.uniform,
}


def families_of(shape: tuple[int, ...]) -> dict[str, Family]:
    """The families that inputs of a shape can be drawn from, by name."""
    return {3: _IMAGES, 2: _SIGNALS}.get(len(shape), _FEATURES)


def at_most(count: int, shape: tuple[int, ...], least: int = 1) -> int:
    """`count` pictures, or of those that are larger than 32x32x3 fewer, `least` or more."""
    return min(count, max(least, count * 32 * 32 * 3 // math.prod(shape)))


class ProceduralPictures:
    """Pictures, signals or table rows drawn by formula; a `Source` without an end, nothing stored.

    Families for images `(H, W, C)` of any number of channels: "leaves" (textured dead leaves),
    "noise" (`1/f^a`), "networks" (an untrained generator network), "things" (a patterned thing on a
    plain ground), "blobs" (smooth noise on a plain ground), "strokes" (curves), "hierarchy" (uniform
    noise at all scales). For signals `(T, C)`: "smooth", "waves", "piecewise", "uniform". For
    everything else: "correlated", "heavy", "uniform".

    Args:
        shape: Of one input.
        input_range: `(low, high)` of its values.
        shares: Of the families in each batch, by name; positive, and divided by their sum. Defaults to
            all families in equal shares.

    Raises:
        InputError: If there is no such family for inputs of this shape.

    Example:
        >>> pictures = ProceduralPictures((8, 8, 3), (0, 255), {"leaves": 3, "noise": 1})
        >>> next(iter(pictures.stream(batch_size=4, seed=0))).shape
        TensorShape([4, 8, 8, 3])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        input_range: tuple[float, float] = (0.0, 1.0),
        shares: Mapping[str, float] | None = None,
    ):
        self.shape, self.input_range = tuple(shape), input_range
        families = families_of(self.shape)
        shares = dict.fromkeys(families, 1.0) if shares is None else dict(shares)
        if not shares or set(shares) - set(families) or min(shares.values()) <= 0:
            raise InputError(
                f"`shares` must be positive numbers for some of {', '.join(families)}. "
                f"Received: shares={shares}."
            )
        total = sum(shares.values())
        self.shares = {name: share / total for name, share in shares.items()}
        self._makers = {name: _maker(name, self.shape) for name in self.shares}

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`."""

        def batch(step: Any) -> Any:
            return self._batch(batch_size, seed, step)

        return ready(tf.data.Dataset.counter(first_step).map(batch))

    def steps(self, batch_size: int) -> None:
        """Pictures have no end."""
        del batch_size

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        """`(count, *shape)`; not compiled, since every count would be compiled anew."""
        size = at_most(AT_ONCE, self.shape)
        steps = range(-(-count // size))
        batches = [self._batch(size, seed, tf.constant(step, tf.int64)) for step in steps]
        return np.concatenate(batches)[:count]

    def keyed(self, seed: int, indices: Any) -> np.ndarray:
        """Pictures in [0, 1] that are a function of (seed, index), families by their shares.

        Args:
            seed: 0 or more.
            indices: `(N,)` integers of 0 or more.
        """
        indices = np.asarray(indices)
        sizes = self._sizes(_PLACES)
        places = np.random.default_rng(0).permutation(np.repeat(list(sizes), list(sizes.values())))
        chosen = places[indices % _PLACES]
        pixels = np.empty((len(indices), *self.shape), np.float32)
        for name in sizes:
            rows = np.flatnonzero(chosen == name)
            if len(rows):
                form, num_uniform, num_normal = self._makers[name]
                pixels[rows] = form(
                    randomness.uniforms(seed, _SALT, indices[rows], num_uniform),
                    randomness.normals(seed, _SALT + 1, indices[rows], num_normal),
                )
        return pixels

    def _batch(self, batch_size: int, seed: int, step: Any) -> Any:
        """Batch `step`, of each family its share."""
        sizes = self._sizes(batch_size).items()
        return tf.concat([self._fresh(n, size, seed, step) for n, size in sizes if size], axis=0)

    def _fresh(self, name: str, size: int, seed: int, step: Any) -> Any:
        form, num_uniform, num_normal = self._makers[name]
        family_seed = int(np.random.SeedSequence([seed, *name.encode()]).generate_state(1)[0])
        key = tf.stack([tf.constant(family_seed, tf.int64), step])
        pixels = form(
            tf.random.stateless_uniform((size, num_uniform), key),
            # Another key: of the same one, the normal numbers would be made of the uniform ones.
            tf.random.stateless_normal((size, num_normal), key + (1 << 32)),
        )
        low, high = self.input_range
        return low + (high - low) * pixels

    def _sizes(self, count: int) -> dict[str, int]:
        """How many of `count` pictures are of each family."""
        return dict(zip(self.shares, divided(count, self.shares.values()), strict=True))


@functools.cache
def _maker(name: str, shape: tuple[int, ...]) -> tuple[Any, int, int]:
    """A compiled function of uniform and normal numbers, and how many of them a picture takes."""
    family = families_of(shape)[name]

    def form(uniform: Any, normal: Any) -> Any:
        return family(Draws(uniform, normal), shape)

    return compiled_on_cpu(form), *numbers_of(family, shape)
