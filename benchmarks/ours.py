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
    """The installed version of the package lacks the feature to be measured."""


def make_generator(
    teacher: Any, precision: str = "float32", **arguments: Any
) -> zskd.ImpressionGenerator:
    """Create a generator that computes in `precision`; only this function uses the argument."""
    try:
        return zskd.ImpressionGenerator(teacher, precision=precision, **arguments)
    except TypeError:  # A version without the argument computes in float32.
        if precision != "float32":
            raise MissingFeatureError(f"no precision={precision!r} in this version") from None
        return zskd.ImpressionGenerator(teacher, **arguments)


def wide_teacher(network: str) -> zskd.Teacher:
    """Create an "alexnet" or a "resnet18" teacher with random weights, always the same ones."""
    keras.utils.set_random_seed(0)
    return zskd.Teacher(
        {"alexnet": zskd.alexnet, "resnet18": networks.resnet18}[network](), (0.0, 1.0)
    )


class Loop:
    """The loop from state to state, compiled as in `ImpressionGenerator.generate`.

    Args:
        generator: Generator whose engine runs, for at most its number of steps.
        batch_size: Impressions at a time. Defaults to what `generate` uses for many impressions.
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
        """Return the state after `steps` steps, always from the same start."""
        state = self._advance(self.begin, np.int32(steps))
        state["age"].numpy()  # Waits for the result.
        return state


def train(**settings: Any) -> dict[str, Any]:
    """Train a network on a TFDS dataset, for measures that need a teacher."""
    return zskd.train(**settings)
