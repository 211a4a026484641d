"""`Tally`: the arithmetic of a run, counted in forward passes of its teacher."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.inputs.source import Mixture, Source
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.models.arithmetic import UPDATE, forward_flops
from keras_zskd.runs.rehearsal import Rehearsal
from keras_zskd.runs.run import Passes

# Number of impressions that are made in place of all.
_MADE = 8


@dataclasses.dataclass(frozen=True)
class StageCost:
    """Arithmetic of one stage.

    Attributes:
        name: Name of the stage.
        kind: "synthesis", "training" or "data", as in the record of a run.
        forwards: Cost in forward passes of the teacher.
        fresh: New inputs that a training made for its batches and did not keep.
    """

    name: str
    kind: str
    forwards: float
    fresh: int = 0


class Tally(Rehearsal):
    """Runs the `train` of a method to count what each stage would cost; nothing is trained.

    The unit is a forward pass of the teacher for one example. A forward pass with a gradient with
    respect to the pixels counts as three. A pass of another network counts as its operations
    divided by the teacher's, and an update of a network as three of its passes. The teacher is not
    counted where its outputs are stored. Augmentation, optimizers, the drawing of pictures, and the
    single pass that labels each stored input are not counted. If impressions may stop early, all
    their steps are counted.

    A model with its own training step has a method `passes`, see `Distiller.passes`; other models
    are counted as one update per example.

    Args:
        teacher: As for `Run`.
        student: As for `Run`.
        seed: As for `Run`.
        resources: As for `Run`.

    Attributes:
        costs: The cost of each stage of `train`, in order.
    """

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        self.costs: list[StageCost] = []
        self._flops: dict[int, int] = {}
        self._networks: list[keras.Model] = []  # Kept alive, so that no two have the same id.
        self._kept: dict[tuple[str, float], dict[str, np.ndarray]] = {}

    def restart(self) -> None:
        """Count from zero again, for the same method at other sizes.

        Impressions with the same settings and kept arrays with the same passes are reused.
        """
        self.costs = []

    @property
    def forwards(self) -> float:
        """The cost of all stages, in forward passes of the teacher."""
        return sum(cost.forwards for cost in self.costs)

    def synthesize(
        self,
        generator: ImpressionGenerator,
        count: int,
        name: str = "impressions",
        seed: int | None = None,
    ) -> TransferSet:
        """Make a few impressions with one step, and repeat the first one `count` times.

        Args:
            generator: As for `Run.synthesize`.
            count: As for `Run.synthesize`.
            name: As for `Run.synthesize`.
            seed: Not used; the cost does not depend on it.
        """
        del seed
        networks = [net for prior in generator.engine.priors for net in prior.networks]
        steps = count * generator.engine.steps
        passes = [(network, UPDATE * steps) for network in (self.teacher.model, *networks)]
        self.costs.append(StageCost(name, "synthesis", self._in_forwards(passes)))
        config = json.dumps(generator.get_config(), sort_keys=True)
        settings = hashlib.sha256(config.encode()).hexdigest()[:16]
        directory = pathlib.Path(self.directory) / f"{name}-{settings}"
        generator.shortened(1).generate(_MADE, directory, verbose=0)
        return _Repeated(directory, count)

    def fit(
        self,
        model: keras.Model,
        source: Source,
        epochs: int,
        batch_size: int,
        steps: int | None = None,
        name: str = "training",
        callbacks: Sequence[keras.callbacks.Callback] = (),
    ) -> dict[str, list[float]]:
        """Count the steps; the model does not change, and the history is empty."""
        del callbacks
        examples = epochs * (steps or source.steps(batch_size) or 1) * batch_size
        batch = source.stream(batch_size, self.seed).element_spec
        passes = model.passes(batch) if hasattr(model, "passes") else [(model, UPDATE)]
        endless = sum(share for part, share in parts_of(source) if part.steps(1) is None)
        fresh = round(examples * endless * getattr(model, "images_per_example", 1))
        self.costs.append(StageCost(name, "training", examples * self._in_forwards(passes), fresh))
        return {}

    def keep(
        self,
        name: str,
        make: Callable[[], dict[str, np.ndarray]],
        measure: Callable[[], tuple[dict[str, np.ndarray], float]] | None = None,
        passes: Passes = (),
    ) -> dict[str, np.ndarray]:
        """Compute a part of the arrays, or all if there is no `measure`."""
        forwards = self._in_forwards(passes)
        self.costs.append(StageCost(name, "data", forwards))
        if (name, forwards) not in self._kept:
            self._kept[name, forwards] = make() if measure is None else measure()[0]
        return self._kept[name, forwards]

    def _in_forwards(self, passes: Passes) -> float:
        teacher = self._flops_of(self.teacher.model)
        return sum(number * self._flops_of(network) / teacher for network, number in passes)

    def _flops_of(self, network: keras.Model) -> int:
        if id(network) not in self._flops:
            self._networks.append(network)
            self._flops[id(network)] = max(1, forward_flops(network))
        return self._flops[id(network)]


class _Repeated(TransferSet):
    """One impression in place of many; the arrays have the full length, but not its memory."""

    def __init__(self, directory: pathlib.Path, count: int):
        super().__init__(directory)
        self._count = count

    @property
    def num_impressions(self) -> int:
        return self._count

    def part(self, start: int, stop: int, *names: str) -> dict[str, np.ndarray]:
        few = super().part(0, 1, *names)
        return {
            name: np.broadcast_to(array, (stop - start, *array.shape[1:]))
            for name, array in few.items()
        }


def parts_of(source: Source) -> list[tuple[Source, float]]:
    """Return the sources of a mixture with their shares, or the source itself."""
    if isinstance(source, Mixture):
        return list(zip(source.sources, source.shares, strict=True))
    return [(source, 1.0)]
