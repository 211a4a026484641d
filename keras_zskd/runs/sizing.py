"""How many impressions and training steps fit into a given time."""

import dataclasses
import tempfile

import keras
import numpy as np

from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.source import Source
from keras_zskd.runs.run import Run

# Seconds for imports, and for measuring agreement after each epoch. Export, evaluation and report
# of a network as small as LeNet-5 take a little longer than compiling its training step. The latter
# is measured, so it shows how fast the machine is.
_SECONDS_BESIDES = 11.0
_EXPORT_PER_COMPILATION = 1.25
# Share of the remaining time that is kept in reserve: a long run is slower than its first steps,
# and export and evaluation of a large network take longer.
_MARGIN = 0.07
# Minimum seconds of training; only `minutes=0` skips it.
_LEAST_SECONDS = 5.0
# Share of the time for impressions; the smallest and largest number of them that is worthwhile.
_SYNTHESIS_SHARE = 0.2
_FEWEST, _MOST = 1_000, 40_000
# For a multi-label teacher, whose impressions take more steps and are combined in mosaics.
_FEWEST_FOR_LABELS = 250
# Defaults without a given time, which take from two minutes to an hour. With more than 300 classes
# both grow, so that there are as many impressions of each class.
DEFAULT_IMPRESSIONS, DEFAULT_EXAMPLES = 12_000, 800_000
_LEAST_PER_CLASS = 40
_DEFAULT_SECONDS = (120.0, 3600.0)
# Shortest remaining time for which measuring again pays off; it takes two to three seconds.
_WORTH_MEASURING = 30.0
# With fewer steps a student from random weights stays near chance.
_FEW_STEPS = 50
# In less time, most of it would go into compiling the synthesis.
_SECONDS_FOR_IMPRESSIONS = 20.0


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes of a run; None for a size that depends on the time.

    Attributes:
        num_impressions: Number of impressions.
        steps: Number of training steps.
        training_ends: Seconds from the start of the run to the end of the training, or None if the
            number of steps does not depend on the time.
    """

    num_impressions: int | None
    steps: int | None
    training_ends: float | None = None


def default_scale(num_classes: int) -> float:
    """Return the factor, 1 or more, by which many classes enlarge the default sizes."""
    return max(1.0, _LEAST_PER_CLASS * num_classes / DEFAULT_IMPRESSIONS)


def size_by_time(
    run: Run,
    minutes: float | None,
    wanted: Sizes,
    generator: ImpressionGenerator,
    distiller: keras.Model,
    source: Source,
    batch_size: int,
) -> Sizes:
    """Choose the sizes that are not given, by measurements that are made once per run and kept.

    Functions that are compiled for the measurements are reused by the run.

    Args:
        run: The run; its elapsed time counts.
        minutes: Time for the whole run; None for a default that depends on the networks.
        wanted: Given sizes.
        generator: Generator of the impressions.
        distiller: Compiled distiller.
        source: Its training inputs.
        batch_size: Batch size of the training.
    """
    if minutes == 0:
        return Sizes(0, 0)
    if wanted.num_impressions is not None and wanted.steps is not None:
        return wanted

    def measured() -> dict[str, np.ndarray]:
        first, per_step = run.pace(distiller, source, batch_size)
        besides = _SECONDS_BESIDES + _EXPORT_PER_COMPILATION * first
        seconds = None if minutes is None else 60.0 * minutes
        per_impression = np.inf
        if seconds is None or seconds - run.elapsed - besides > _SECONDS_FOR_IMPRESSIONS:
            with tempfile.TemporaryDirectory() as scratch:
                per_impression = generator.measure(_MOST, scratch)[1] / _MOST
        if seconds is None:
            all_of_it = default_scale(run.teacher.num_classes) * (
                DEFAULT_IMPRESSIONS * per_impression + DEFAULT_EXAMPLES / batch_size * per_step
            )
            seconds = float(np.clip(all_of_it, *_DEFAULT_SECONDS))
        left = _free(seconds - run.elapsed - besides)
        count = wanted.num_impressions
        if count is None:
            count = min(_MOST, round(_SYNTHESIS_SHARE * left / per_impression))
            fewest = _FEWEST_FOR_LABELS if run.teacher.is_multi_label else _FEWEST
            count = count if count >= fewest else 0
        synthesis = count * per_impression if count else 0.0
        steps = wanted.steps
        if steps is None:
            steps = max(STEPS_AT_ONCE, round((left - synthesis) / per_step))
        return {
            "num_impressions": np.array(count),
            "steps": np.array(steps),
            "seconds": np.array(seconds),
            "training_ends": np.array(seconds - besides),
        }

    kept = run.keep("sizes", measured)
    ends = float(kept["training_ends"]) if wanted.steps is None else None
    sizes = Sizes(int(kept["num_impressions"]), int(kept["steps"]), ends)
    run.say(
        f"about {float(kept['seconds']) / 60:.1f} minutes in all: {sizes.num_impressions:,} "
        f"impressions, then {sizes.steps:,} steps of {batch_size} examples"
    )
    if wanted.steps is None and (sizes.steps or 0) < _FEW_STEPS:
        run.say(
            f"{sizes.steps} steps train a student hardly at all. Give it more time: with `minutes`, "
            "or without it, for the default."
        )
    return sizes


def steps_by_time(
    run: Run, sizes: Sizes, distiller: keras.Model, source: Source, batch_size: int
) -> int:
    """Choose the number of steps again after the synthesis, by measuring on the final inputs.

    The speed of a machine changes within minutes, and impressions may have taken longer than
    estimated.

    Args:
        run: The run; its elapsed time counts.
        sizes: Result of `size_by_time`.
        distiller: Compiled distiller.
        source: Its training inputs.
        batch_size: Batch size of the training.

    Returns:
        The number of steps; that of `sizes` if it was given, or if less than half a minute is left.
    """
    ends = sizes.training_ends
    if not sizes.steps or ends is None:
        return sizes.steps or 0

    # The decision to measure is kept as well, since a resumed run has another elapsed time.
    def measured() -> dict[str, np.ndarray]:
        if ends - run.elapsed < _WORTH_MEASURING:
            return {"steps": np.array(sizes.steps)}
        _, per_step = run.pace(distiller, source, batch_size)
        steps = round(_free(ends - run.elapsed) / per_step)
        return {"steps": np.array(max(STEPS_AT_ONCE, steps))}

    steps = int(run.keep("steps", measured)["steps"])
    run.say(f"time for {steps:,} steps is left")
    return steps


def _free(seconds: float) -> float:
    """Return how many of the remaining seconds to plan for."""
    return max(_LEAST_SECONDS, (1.0 - _MARGIN) * seconds)
