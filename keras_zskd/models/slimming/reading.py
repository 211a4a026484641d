"""Which channels run through each layer of a flat graph."""

import dataclasses
from typing import Any

import keras
from absl import logging

from keras_zskd.models.graph import share_layer
from keras_zskd.models.slimming.channel_rules import Axes, Call, output_axes
from keras_zskd.models.slimming.channels import fixed, is_fixed, pin, tie


@dataclasses.dataclass(frozen=True)
class Reading:
    """A graph as `Channels`.

    Attributes:
        changes: What must change in the configuration of each layer, by `id` of the layer.
        calls: Each call of a layer or operation in order, with the axes of its outputs.
    """

    changes: dict[int, dict[str, Any]]
    calls: list[tuple[Call, list[Axes]]]


def read_channels(flat: keras.Model) -> Reading:
    """Read a flat graph, see `Reading`; lengths are known when all of it has been read."""
    known: dict[int, Axes] = {}
    changes: dict[int, dict[str, Any]] = {}
    first_inputs: dict[int, list[Axes]] = {}
    calls: list[tuple[Call, list[Axes]]] = []
    kept = []  # an id is only good as long as the tensor lives

    def axes_of(tensor: Any) -> Axes:
        if id(tensor) not in known:  # the model's input, or a constant
            kept.append(tensor)
            known[id(tensor)] = tuple(fixed(size) for size in tensor.shape)
        return known[id(tensor)]

    def read(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        tensors = keras.tree.flatten(outputs)
        arrays = [a for a in keras.tree.flatten((args, kwargs)) if len(getattr(a, "shape", ()))]
        call = Call(
            op=layer,
            arguments=args,
            inputs=[axes_of(a) for a in arrays],
            shapes=[tuple(tensor.shape) for tensor in tensors],
            changes=changes.setdefault(id(layer), {}),
        )
        if getattr(layer, "weights", None):
            # A shared layer has one kernel, so all that it is called with must be of one width.
            earlier = first_inputs.setdefault(id(layer), call.inputs)
            for axes, others in zip(call.inputs, earlier, strict=False):
                for axis, other in zip(reversed(axes), reversed(others), strict=False):
                    tie(axis, other)
        free_before = [axis for axes in call.inputs for axis in axes if not is_fixed(axis)]
        out = output_axes(call)
        calls.append((call, out))
        for tensor, axes in zip(tensors, out, strict=True):
            kept.append(tensor)
            known[id(tensor)] = axes
        if any(is_fixed(axis) for axis in free_before):
            logging.info("slim: %r keeps the width of what it is given", layer.name)
        return outputs

    whole = keras.models.clone_model(flat, clone_function=share_layer, call_function=read)
    for axis in axes_of(whole.outputs[0]):
        pin(axis)
    return Reading(changes, calls)
