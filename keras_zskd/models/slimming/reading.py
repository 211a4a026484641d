"""Traversal of a model that determines the channels of every tensor."""

from typing import Any

import keras
from absl import logging

from keras_zskd.models.graph import share_layer
from keras_zskd.models.slimming.calls import Axes, Call
from keras_zskd.models.slimming.channel_rules import output_axes
from keras_zskd.models.slimming.channels import fixed, is_fixed, pin, tie


def read_channels(flat: keras.Model) -> list[Call]:
    """Return all calls of layers and operations in a flat model, in order, with their axes.

    All calls of a shared layer share one dictionary of `changes`.
    """
    known: dict[int, Axes] = {}
    calls: list[Call] = []
    first_calls: dict[int, Call] = {}
    kept = []  # An id is only valid while the tensor exists.

    def axes_of(tensor: Any) -> Axes:
        if id(tensor) not in known:  # The input of the model, or a constant.
            kept.append(tensor)
            known[id(tensor)] = tuple(fixed(size) for size in tensor.shape)
        return known[id(tensor)]

    def read(layer: Any, *args: Any, **kwargs: Any) -> Any:
        outputs = layer(*args, **kwargs)
        tensors = keras.tree.flatten(outputs)
        arrays = [a for a in keras.tree.flatten((args, kwargs)) if len(getattr(a, "shape", ()))]
        earlier = first_calls.get(id(layer))
        call = Call(
            op=layer,
            arguments=args,
            inputs=[axes_of(a) for a in arrays],
            shapes=[tuple(tensor.shape) for tensor in tensors],
            changes=earlier.changes if earlier else {},
        )
        first_calls.setdefault(id(layer), call)
        if earlier and getattr(layer, "weights", None):
            # A shared layer has one kernel, so all of its inputs must have the same width.
            for axes, others in zip(call.inputs, earlier.inputs, strict=False):
                for axis, other in zip(reversed(axes), reversed(others), strict=False):
                    tie(axis, other)
        free_before = [axis for axes in call.inputs for axis in axes if not is_fixed(axis)]
        call.outputs = output_axes(call)
        for tensor, axes in zip(tensors, call.outputs, strict=True):
            kept.append(tensor)
            known[id(tensor)] = axes
        if any(is_fixed(axis) for axis in free_before):
            logging.info("slim: %r keeps the width of its inputs", layer.name)
        calls.append(call)
        return outputs

    whole = keras.models.clone_model(flat, clone_function=share_layer, call_function=read)
    for axis in axes_of(whole.outputs[0]):
        pin(axis)
    return calls
