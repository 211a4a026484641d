"""Our side of the measures of synthesis: the compiled loop of an `ImpressionGenerator`."""

import pathlib
from typing import Any

import keras
import numpy as np

import keras_zskd as zskd
from benchmarks import networks

# The teacher that ships with the package.
SHIPPED = pathlib.Path(zskd.__file__).parent / "assets" / "lenet5_mnist.keras"


class MissingFeatureError(NotImplementedError):
    """The package does not have what is to be measured."""


def make_generator(
    teacher: Any, precision: str = "float32", **arguments: Any
) -> zskd.ImpressionGenerator:
    """A generator that computes in `precision`; this is the one place that names the argument."""
    try:
        return zskd.ImpressionGenerator(teacher, precision=precision, **arguments)
    except TypeError:  # A version without the argument computes in float32.
        if precision != "float32":
            raise MissingFeatureError(f"no precision={precision!r} in this version") from None
        return zskd.ImpressionGenerator(teacher, **arguments)


def wide_teacher(network: str) -> zskd.Teacher:
    """An "alexnet" or "resnet18" with random weights, always the same ones."""
    keras.utils.set_random_seed(0)
    return zskd.Teacher(
        {"alexnet": zskd.alexnet, "resnet18": networks.resnet18}[network](), (0.0, 1.0)
    )


class Loop:
    """State to state, compiled as `ImpressionGenerator.generate` compiles it.

    Args:
        generator: Whose engine runs; it makes so many steps at most.
        batch_size: Impressions at a time; default: what `generate` takes for many impressions.
    """

    def __init__(self, generator: zskd.ImpressionGenerator, batch_size: int | None = None):
        engine, compiled = generator.engine, generator._replicas.function
        self.batch_size = generator._batch_size(batch_size, 10**9)
        drawn = engine.draw(0, np.arange(self.batch_size))
        drawn.pop("label")
        self.begin = compiled(engine.start, engine.compiled)(drawn)
        self._advance = compiled(engine.advance, engine.compiled)
        self.plan = engine._look._plan  # How the teacher's layers run.

    def run(self, steps: int) -> dict[str, Any]:
        """The state after `steps` steps from the start, always the same ones."""
        state = self._advance(self.begin, np.int32(steps))
        state["age"].numpy()  # Until it is done.
        return state


def train(**settings: Any) -> dict[str, Any]:
    """Train a network on a TFDS dataset, for measures that need a teacher."""
    return zskd.train(**settings)
