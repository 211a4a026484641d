"""All private attributes of Keras that the package uses.

Tested with the versions that `setup.cfg` allows. A new version is allowed once `tests/core/
test_keras_internals.py` passes with it.
"""

from collections.abc import Callable
from typing import Any

import keras


def nodes_of(model: keras.Model) -> list[Any]:
    """Return the nodes of a Functional model's graph, from its inputs to its outputs.

    A node is one call of a layer or operation: `operation`, `input_tensors`, `outputs`, `is_input`.
    """
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def calls_of(operation: Any) -> list[Any]:
    """Return the nodes of all calls of a layer or operation, in any graph."""
    return list(getattr(operation, "_inbound_nodes", None) or ())


def output_of(model: keras.Model, name: str) -> Any:
    """Return the output of a layer in the graph of a model, or None if it has none in it.

    Only the first output of the first call. A shared layer may be in other graphs as well.
    """
    for node in nodes_of(model):
        if node.operation.name == name:
            return node.outputs[0]
    return None


def maker_of(tensor: Any) -> tuple[Any, Any]:
    """Return the layer or operation that created a symbolic tensor, and its node or None."""
    history = tensor._keras_history
    calls = calls_of(history.operation)
    return history.operation, calls[history.node_index] if calls else None


def replay(
    model: Any, inputs: list[Any], operation_fn: Callable[..., Any], call_fn: Callable[..., Any]
) -> list[Any]:
    """Run the graph of a Functional model on other inputs, with other operations.

    Inputs and outputs are those of `model.inputs` and `model.outputs`, in this order.

    `keras.models.clone_model` itself cannot be used: it makes a Functional model of each nested
    graph, which fails for an input that is not an `Input`.
    """
    outputs = model._run_through_graph(inputs, operation_fn=operation_fn, call_fn=call_fn)
    found: list[Any] = keras.tree.flatten(outputs)
    return found


def flat_layers(model: keras.Model) -> list[keras.Layer]:
    """Return a model, its layers, and the layers of all nested models."""
    return list(model._flatten_layers())


def policy_for_training(*models: keras.Model) -> str:
    """Return the dtype policy of a model that trains these: "mixed_float16" if any is in float16.

    `compile()` scales the loss, which float16 requires, only under this policy.
    """
    layers = [layer for model in models for layer in flat_layers(model)]
    is_half = any(layer.compute_dtype == "float16" for layer in layers)
    return "mixed_float16" if is_half else "float32"


def loss_tracker(model: keras.Model) -> Any:
    """Return the metric that a compiled model logs as "loss"."""
    return model._loss_tracker


def build_metrics(model: keras.Model, batch: Any) -> None:
    """Create the metric variables of a compiled model from a batch in the format of `fit`."""
    model._symbolic_build(data_batch=batch)
