"""The arithmetic of networks: floating-point operations of a forward pass."""

import math
from typing import Any

import keras

from keras_zskd.core.keras_internals import nodes_of
from keras_zskd.models.graph import inline, share_layer

UPDATE = 3.0
"""Cost of a forward pass with a gradient, by the pixels or by the weights, in forward passes."""


def forward_flops(model: keras.Model) -> int:
    """Count the floating-point operations of one forward pass for one example.

    Only the products of convolutions and dense layers with their kernels are counted. A
    multiplication and an addition are two operations. A layer that is called twice counts twice.

    Args:
        model: A Functional or Sequential model with one input and one output.

    Example:
        >>> forward_flops(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
        24
    """
    nodes = nodes_of(inline(model, share_layer))
    return sum(flops_of_call(node) for node in nodes if not node.is_input)


def flops_of_call(node: Any) -> int:
    """Count the operations of one node of a graph, as in `forward_flops`; see `nodes_of`."""
    layer = node.operation
    kernels = [w for w in getattr(layer, "weights", ()) if w.path.endswith("kernel")]
    if not kernels:
        return 0
    # A transposed convolution multiplies its kernel with each position of its input.
    is_transposed = "Transpose" in type(layer).__name__
    shape = (node.input_tensors if is_transposed else node.outputs)[0].shape[1:]
    is_first = getattr(layer, "data_format", None) == "channels_first"
    positions = math.prod(shape[1:] if is_first else shape[:-1])
    return 2 * positions * sum(math.prod(kernel.shape) for kernel in kernels)
