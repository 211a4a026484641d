"""These tests must pass with every version of Keras that setup.cfg allows."""

import itertools

import keras
import numpy as np
import pytest

from keras_zskd.core import keras_internals


@pytest.fixture
def model():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(4, name="shared")
    inner = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, name="inside")], name="inner"
    )
    return keras.Model(inputs, inner(dense(dense(inputs))))


def test_nodes_run_from_inputs_to_outputs(model):
    nodes = keras_internals.nodes_of(model)
    assert [node.operation.name for node in nodes[1:]] == ["shared", "shared", "inner"]
    assert [node.is_input for node in nodes] == [True, False, False, False]
    for before, after in itertools.pairwise(nodes):
        assert after.input_tensors[0] is before.outputs[0]


def test_maker_of_a_tensor(model):
    operation, node = keras_internals.maker_of(model.outputs[0])
    assert operation.name == "inner"
    assert node.outputs[0] is model.outputs[0]
    calls = keras_internals.calls_of(model.get_layer("shared"))
    assert [call.input_tensors[0] is model.inputs[0] for call in calls] == [True, False]
    # An operation without a call has no node.
    assert keras_internals.calls_of(object()) == []


def test_replay_runs_the_graph_with_other_operations(model):
    seen = []

    def call(operation, *args, **kwargs):
        seen.append(operation.name)
        return operation(*args, **kwargs)

    x = keras.Input((4,))
    outputs = keras_internals.replay(model, [x], lambda operation: operation, call)
    again = keras.Model(x, outputs[0])
    assert seen == ["shared", "shared", "inner"]
    values = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(again(values), model(values))


def test_flat_layers_include_nested_models(model):
    names = {layer.name for layer in keras_internals.flat_layers(model)}
    assert {"shared", "inner", "inside", model.name} <= names


def test_metrics_have_variables_before_the_first_step(model):
    model.compile("sgd", "mse", metrics=["mae"])
    before = len(model.metrics_variables)
    batch = (np.ones((2, 4), "float32"), np.ones((2, 3), "float32"))
    keras_internals.build_metrics(model, batch)
    assert len(model.metrics_variables) > before
    history = model.fit(*batch, verbose=0).history
    tracker = keras_internals.loss_tracker(model)
    assert float(tracker.result()) == pytest.approx(history["loss"][0])
