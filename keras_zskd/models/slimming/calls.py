"""`Call`: one call of a layer, as seen by the rules of `slim`."""

import dataclasses
from typing import Any

from keras_zskd.models.slimming.channels import Channels, free

Axes = tuple[Channels, ...]


@dataclasses.dataclass
class Call:
    """One call of a layer or operation in the original graph.

    Attributes:
        op: The layer or operation.
        arguments: Its positional arguments.
        inputs: The axes of each tensor among its arguments.
        shapes: The original shape of each output.
        changes: Changes to the configuration of `op`: maps names to `Channels`, to lists of
            `Channels` and numbers, or to the changes of a wrapped layer. All calls of a shared layer
            share one dictionary.
        outputs: The axes of each output, set after the rule is applied.
    """

    op: Any
    arguments: tuple[Any, ...]
    inputs: list[Axes]
    shapes: list[tuple[int | None, ...]]
    changes: dict[str, Any]
    outputs: list[Axes] = dataclasses.field(default_factory=list)

    def make(self, name: str, size: int) -> Channels:
        """Return the axis of the length given by argument `name`, the same one at each call."""
        return self.changes.setdefault(name, free(size))

    def wrapped(
        self, name: str, layer: Any, inputs: list[Axes], shapes: list[tuple[int | None, ...]]
    ) -> "Call":
        """Return a call of the layer in argument `name`; its changes become part of `changes`."""
        return Call(layer, (), inputs, shapes, self.changes.setdefault(name, {}))
