"""Recurrent networks, transformers, attention, normalization of single examples, tables."""

from typing import Any

import keras
from keras import layers, ops

from benchmarks.zoo_teachers.entry import Entry, entries, graph, stack
from benchmarks.zoo_teachers.networks import SHAPE

_SERIES = (12, 3)


@keras.saving.register_keras_serializable(package="zoo")
class Positions(layers.Layer):
    """Adds a trained vector to each patch."""

    def build(self, shape: Any) -> None:
        """One vector per patch."""
        self.vectors = self.add_weight(shape=shape[1:], name="vectors")

    def call(self, x: Any) -> Any:
        """`(N, P, D)`."""
        return x + self.vectors


@keras.saving.register_keras_serializable(package="zoo")
class ClassToken(layers.Layer):
    """Puts a trained vector before the patches."""

    def build(self, shape: Any) -> None:
        """The vector."""
        self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

    def call(self, x: Any) -> Any:
        """`(N, P + 1, D)`."""
        return ops.concatenate([ops.repeat(self.token, ops.shape(x)[0], axis=0), x], axis=1)


def _block(x: Any, heads: int = 2) -> Any:
    size = x.shape[-1]
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(heads, size // heads)(y, y)
    y = layers.Dense(2 * size, "gelu")(layers.LayerNormalization()(x))
    return x + layers.Dense(size)(y)


def _vision_transformer(token: bool) -> keras.Model:
    def body(x: Any) -> Any:
        x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(x))
        x = Positions()(ClassToken()(x) if token else x)
        x = layers.LayerNormalization()(_block(x))
        return x[:, 0] if token else layers.GlobalAveragePooling1D()(x)

    return graph(SHAPE, body)


def _mixer(x: Any) -> Any:
    x = layers.Reshape((16, 8))(layers.Conv2D(8, 4, strides=4)(x))
    y = layers.Permute((2, 1))(layers.LayerNormalization()(x))
    x = x + layers.Permute((2, 1))(layers.Dense(16)(layers.Dense(8, "gelu")(y)))
    y = layers.LayerNormalization()(x)
    return layers.GlobalAveragePooling1D()(x + layers.Dense(8)(layers.Dense(12, "gelu")(y)))


def _conv_mixer(x: Any) -> Any:
    x = layers.BatchNormalization()(layers.Conv2D(8, 4, strides=4, activation="gelu")(x))
    y = layers.DepthwiseConv2D(3, padding="same", activation="gelu")(x)
    x = x + layers.BatchNormalization()(y)
    return layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, activation="gelu")(x))


def _series_transformer(x: Any) -> Any:
    return layers.GlobalAveragePooling1D()(_block(Positions()(layers.Dense(8)(x))))


def _attention(kind: Any) -> keras.Model:
    def body(x: Any) -> Any:
        x = layers.Dense(6)(x)
        return layers.GlobalAveragePooling1D()(kind()([x, x]))

    return graph(_SERIES, body)


def _grouped_attention(x: Any) -> Any:
    x = layers.Dense(8)(x)
    return layers.GlobalAveragePooling1D()(layers.GroupQueryAttention(4, 4, 2)(x, x))


def _pooled_by_attention(x: Any) -> Any:
    x = layers.Conv2D(6, 3, activation="relu")(x)
    x = layers.Reshape((196, 6))(x)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    return ops.sum(weights * x, axis=1)


def _norm(layer: Any) -> keras.Model:
    return stack(
        SHAPE, [layers.Conv2D(8, 3), layer, layers.ReLU(), layers.GlobalAveragePooling2D()]
    )


def _recurrent(*parts: Any) -> keras.Model:
    return stack(_SERIES, parts)


def _rows(*parts: Any, features: int = 9, end: str | None = None) -> keras.Model:
    return stack((features,), parts, 3, end)


def _wide_and_deep(x: Any) -> Any:
    return layers.Concatenate()([x, layers.Dense(8, "relu")(layers.Dense(8, "relu")(x))])


def _gated(x: Any) -> Any:
    return layers.Dense(8)(x) * layers.Dense(8, "sigmoid")(x)


SEQUENCES: list[Entry] = [
    *entries(
        "recurrent",
        {
            "lstm": lambda: _recurrent(layers.LSTM(8)),
            "gru_twice": lambda: _recurrent(layers.GRU(6, return_sequences=True), layers.GRU(6)),
            "simple_rnn": lambda: _recurrent(layers.SimpleRNN(8)),
            "bidirectional": lambda: _recurrent(layers.Bidirectional(layers.LSTM(6))),
            "convolutions_and_lstm": lambda: _recurrent(
                layers.Conv1D(6, 3, activation="relu"), layers.LSTM(6)
            ),
            "masking": lambda: _recurrent(layers.Masking(), layers.LSTM(6)),
            "lstm_all_steps": lambda: _recurrent(
                layers.LSTM(6, return_sequences=True), layers.Flatten()
            ),
        },
    ),
    *entries(
        "videos",
        {
            "time_distributed": lambda: stack(
                (4, 8, 8, 1),
                [
                    layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu")),
                    layers.TimeDistributed(layers.Flatten()),
                    layers.GRU(6),
                ],
            ),
            "conv_lstm": lambda: stack((3, 8, 8, 1), [layers.ConvLSTM2D(4, 3), layers.Flatten()]),
        },
    ),
    *entries(
        "vision transformers",
        {
            "vit_mean": lambda: _vision_transformer(False),
            "vit_token": lambda: _vision_transformer(True),
        },
    ),
    *entries(
        "mixers",
        {"mixer": lambda: graph(SHAPE, _mixer), "conv_mixer": lambda: graph(SHAPE, _conv_mixer)},
    ),
    *entries(
        "attention",
        {
            "series_transformer": lambda: graph(_SERIES, _series_transformer),
            "dot_attention": lambda: _attention(layers.Attention),
            "additive_attention": lambda: _attention(layers.AdditiveAttention),
            "grouped_attention": lambda: graph(_SERIES, _grouped_attention),
            "pooled_by_attention": lambda: graph(SHAPE, _pooled_by_attention),
        },
    ),
    *entries(
        "normalization of examples",
        {
            "layer_norm": lambda: _norm(layers.LayerNormalization()),
            "group_norm": lambda: _norm(layers.GroupNormalization(4)),
            "rms_norm": lambda: _norm(layers.RMSNormalization()),
            "unit_norm": lambda: _norm(layers.UnitNormalization()),
            "spectral_norm": lambda: stack(
                SHAPE, [layers.SpectralNormalization(layers.Conv2D(6, 3)), layers.Flatten()]
            ),
        },
    ),
    *entries(
        "tables",
        {
            "rows": lambda: _rows(layers.Dense(16, "relu"), layers.Dense(8, "relu")),
            "rows_normalized": lambda: _rows(
                layers.Dense(16), layers.BatchNormalization(), layers.ReLU()
            ),
            "rows_selu": lambda: _rows(
                layers.Dense(16, "selu", kernel_initializer="lecun_normal"),
                layers.AlphaDropout(0.1),
            ),
            "logistic_regression": lambda: _rows(end="softmax"),
            "wide_and_deep": lambda: graph((9,), _wide_and_deep, 3),
            "gated": lambda: graph((9,), _gated, 3),
            "two_features": lambda: _rows(layers.Dense(4, "tanh"), features=2),
            "many_features": lambda: _rows(layers.Dense(8, "relu"), features=784),
        },
    ),
]
