"""`slim` of recurrent layers."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.narrow_copy import slim

layers = keras.layers


def bidirectional(merge_mode):
    return [
        layers.Bidirectional(layers.LSTM(8, return_sequences=True), merge_mode=merge_mode),
        layers.Bidirectional(layers.GRU(6), merge_mode=merge_mode),
    ]


NARROWED = {
    "lstm": ((6, 3), [layers.LSTM(8, return_sequences=True), layers.LSTM(6)], [(4, 6), 3]),
    "gru": ((6, 3), [layers.GRU(8, return_sequences=True), layers.SimpleRNN(6)], [(4, 6), 3]),
    "concatenated": ((6, 3), bidirectional("concat"), [(8, 6), 6]),
    "added": ((6, 3), bidirectional("sum"), [(4, 6), 3]),
    "time_distributed": (
        (5, 6, 6, 2),
        [
            layers.TimeDistributed(layers.Conv2D(8, 3)),
            layers.TimeDistributed(layers.Flatten()),
            layers.TimeDistributed(layers.Dense(6)),
            layers.LSTM(4),
        ],
        [(4, 5), (64, 5), (3, 5), 2],
    ),
    "convolution_before_bidirectional": (
        (8, 3),
        [layers.Conv1D(8, 3), layers.Bidirectional(layers.LSTM(6))],
        [(4, 6), 6],
    ),
    "time_distributed_convolutions": (
        (5, 6, 6, 2),
        [
            layers.TimeDistributed(layers.Conv2D(8, 3)),
            layers.TimeDistributed(layers.BatchNormalization()),
            layers.TimeDistributed(layers.Conv2D(6, 3)),
            layers.TimeDistributed(layers.GlobalAveragePooling2D()),
            layers.GlobalAveragePooling1D(),
        ],
        [(4, 5), (4, 5), (3, 5), (3, 5), 3],
    ),
    "time_distributed_after_dense": (
        (5, 4),
        [layers.Dense(8), layers.TimeDistributed(layers.Dense(6)), layers.Flatten()],
        [(4, 5), (3, 5), 15],
    ),
    "convolutional": (
        (3, 6, 6, 2),
        [layers.ConvLSTM2D(8, 3, return_sequences=True), layers.ConvLSTM2D(4, 3), layers.Flatten()],
        [(4, 3), 2, 8],
    ),
}


@pytest.mark.parametrize("kind", NARROWED)
def test_units_shrink_and_time_does_not(kind):
    """The channels of every layer, with the length of the sequence where there is one."""
    shape, stack, expected = NARROWED[kind]
    model = keras.Sequential([keras.Input(shape), *stack, layers.Dense(3)])
    narrow = slim(model, 0.5)
    found = []
    for layer, (own, size) in zip(
        narrow.layers[1:],
        [(x if isinstance(x, tuple) else (x, None)) for x in [*expected, 3]],
        strict=True,
    ):
        out = layer.output.shape
        found.append((out[-1], None if size is None else out[1]))
        assert found[-1] == (own, size)
    assert narrow.output_shape == (None, 3)
    assert narrow(np.zeros((1, *shape), "float32")).shape == (1, 3)


def test_wrappers_of_a_loaded_model_shrink(tmp_path):
    """A file says how each layer was built, also the one in a wrapper."""
    x = keras.Input((8, 3))
    y = layers.Bidirectional(layers.GRU(6))(layers.Conv1D(8, 3)(x))
    keras.Model(x, layers.Dense(3)(y)).save(path := tmp_path / "model.keras")
    narrow = slim(keras.models.load_model(path), 0.5)
    assert narrow(np.zeros((1, 8, 3), "float32")).shape == (1, 3)


def test_states_shrink_with_their_layer():
    x = keras.Input((6, 3))
    _, *states = layers.LSTM(8, return_state=True)(x)
    y = layers.LSTM(8)(x, initial_state=states)
    narrow = slim(keras.Model(x, layers.Dense(3)(y)), 0.5)
    assert [layer.units for layer in narrow.layers if hasattr(layer, "units")] == [4, 4, 3]


def test_recurrent_units_are_not_folded():
    model = keras.Sequential([keras.Input((6, 3)), layers.LSTM(8), layers.Dense(3)])
    with pytest.raises(InputError, match="feed back into each other"):
        slim(model, 0.5, weights="teacher")
