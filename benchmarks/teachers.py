"""Small teachers of common kinds, and the data that they are evaluated on.

table       30 measurements of breast cancer cells (Wisconsin, 569 rows, in scikit-learn); dense
layers with batch normalization.
signal      Cylinder, bell and funnel curves of 128 values (Saito, 1994), drawn by their formula;
one-dimensional convolutions.
color       CIFAR-10 (pixels of a JPEG copy) enlarged to 64x64; convolutions without batch
normalization.
depthwise   Fashion-MNIST; depthwise and pointwise convolutions with batch normalization.
digits      8x8 images of handwritten digits (UCI, 1,797 images, in scikit-learn); convolutions
with batch normalization.
residual    MNIST; residual connections and batch normalization.
labels      Canvases of 56x56 pixels with up to three MNIST digits; one sigmoid per digit,
convolutions with batch normalization.
"""

import pathlib
from typing import Any

import keras
import numpy as np
from keras import layers

import keras_zskd as zskd
from benchmarks import small_networks
from keras_zskd.inputs import datasets

KINDS = ("table", "signal", "color", "depthwise", "digits", "residual", "labels")
_EPOCHS = {
    "table": 60,
    "signal": 5,
    "color": 6,
    "depthwise": 5,
    "digits": 40,
    "residual": 3,
    "labels": 4,
}
_WORK = pathlib.Path("runs/kinds")
_Rows = tuple[np.ndarray, np.ndarray]


def teacher_of(kind: str) -> tuple[zskd.Teacher, np.ndarray, np.ndarray]:
    """Return a teacher of `KINDS`, trained once, and inputs and labels that it has not seen."""
    train, (inputs, labels) = _rows(kind)
    path = _WORK / f"{kind}.keras"
    if not path.exists():
        _train(kind, *train).save(path)
    input_range = (float(train[0].min()), float(train[0].max()))
    return zskd.Teacher(str(path), input_range), inputs, labels


def _train(kind: str, inputs: np.ndarray, labels: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(1)
    loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if kind == "residual":
        model = small_networks.build("residual")
    else:
        output = layers.Dense(int(labels.max()) + 1)
        if labels.ndim == 2:
            output, loss = layers.Dense(labels.shape[1], "sigmoid"), "binary_crossentropy"
        model = keras.Sequential([keras.Input(inputs.shape[1:]), *_body(kind), output])
    epochs = _EPOCHS[kind]
    decay = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(inputs) // 64))
    model.compile(keras.optimizers.AdamW(decay, weight_decay=1e-2), loss)
    model.fit(inputs, labels, batch_size=64, epochs=epochs, verbose=0)
    _WORK.mkdir(parents=True, exist_ok=True)
    return model


def _normalized(layer: Any) -> list[Any]:
    """A layer without a bias, batch normalization, ReLU."""
    return [layer, layers.BatchNormalization(), layers.ReLU()]


def _body(kind: str) -> list[Any]:
    if kind == "table":
        return [*_normalized(layers.Dense(64)), *_normalized(layers.Dense(32))]
    if kind == "signal":
        return [
            layers.Conv1D(32, 7, strides=2, activation="relu"),
            layers.Conv1D(64, 5, strides=2, activation="relu"),
            layers.GlobalAveragePooling1D(),
        ]
    if kind == "color":
        widths = (32, 64, 128)
        convolutions = [
            layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")
            for width in widths
        ]
        return [*convolutions, layers.MaxPooling2D(), layers.Flatten(), layers.Dense(128, "relu")]
    if kind == "digits":
        return [
            *_normalized(layers.Conv2D(16, 3, padding="same")),
            *_normalized(layers.Conv2D(32, 3, strides=2, padding="same")),
            layers.Flatten(),
        ]
    if kind == "labels":
        return [
            *_normalized(layers.Conv2D(16, 3, strides=2, padding="same")),
            *_normalized(layers.Conv2D(32, 3, padding="same")),
            layers.MaxPooling2D(),
            *_normalized(layers.Conv2D(64, 3, padding="same")),
            layers.MaxPooling2D(),
            *_normalized(layers.Conv2D(64, 3, padding="same")),
            layers.GlobalMaxPooling2D(),
        ]
    return [
        *_normalized(layers.Conv2D(32, 3, strides=2)),
        *_normalized(layers.DepthwiseConv2D(3)),
        *_normalized(layers.Conv2D(64, 1)),
        *_normalized(layers.DepthwiseConv2D(3, strides=2)),
        *_normalized(layers.Conv2D(128, 1)),
        layers.GlobalAveragePooling2D(),
    ]


def _rows(kind: str) -> tuple[_Rows, _Rows]:
    """Return inputs and labels, for training and for evaluation."""
    if kind == "table":
        from sklearn.datasets import load_breast_cancer

        rows, labels = load_breast_cancer(return_X_y=True)
        # Each column is scaled to [-1, 1], as is usual for tables, after a log since it is skewed.
        rows = np.log1p(rows)
        rows = 2.0 * (rows - rows.min(axis=0)) / np.ptp(rows, axis=0) - 1.0
        return _halves(rows.astype("float32"), labels)
    if kind == "digits":
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        return _halves((images / 16.0).reshape(-1, 8, 8, 1).astype("float32"), labels)
    if kind == "signal":
        return _curves(6_000, seed=0), _curves(6_000, seed=1)
    if kind == "labels":
        splits = {"train": 30_000, "test": 4_000}
        train, test = (
            _canvases(*datasets.load("mnist", split, (28, 28, 1)), count)
            for split, count in splits.items()
        )
        return train, test
    name = {"color": "cifar10", "depthwise": "fashion_mnist", "residual": "mnist"}[kind]
    shape = (64, 64, 3) if kind == "color" else (28, 28, 1)
    return datasets.load(name, "train", shape), datasets.load(name, "test", shape)


def _halves(inputs: np.ndarray, labels: np.ndarray) -> tuple[_Rows, _Rows]:
    from sklearn.model_selection import train_test_split

    first, second, labels_of_first, labels_of_second = train_test_split(
        inputs, labels, test_size=0.5, random_state=0, stratify=labels
    )
    return (first, labels_of_first), (second, labels_of_second)


def _canvases(images: np.ndarray, labels: np.ndarray, count: int) -> _Rows:
    """Return canvases with up to three digits in their quadrants, and their sets of labels."""
    random = np.random.default_rng(0)
    canvases = np.zeros((count, 56, 56, 1), np.float32)
    present = np.zeros((count, 10), np.int64)
    for canvas, found in zip(canvases, present, strict=True):
        for place in random.permutation(4)[: random.integers(4)]:
            number = random.integers(len(images))
            row, column = 28 * (place // 2), 28 * (place % 2)
            canvas[row : row + 28, column : column + 28] = images[number]
            found[labels[number]] = 1
    return canvases, present


def _curves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw cylinders, bells and funnels (Saito, 1994): a plateau, a ramp up or down, with noise."""
    random = np.random.default_rng(seed)
    time_of = np.arange(128.0)
    labels = random.integers(0, 3, count)
    begin = random.integers(16, 33, (count, 1))
    end = begin + random.integers(32, 97, (count, 1))
    inside = ((time_of >= begin) & (time_of <= end)).astype("float64")
    rising = (time_of - begin) / (end - begin)
    form = np.select([labels[:, None] == 0, labels[:, None] == 1], [1.0, rising], 1.0 - rising)
    curves = (6.0 + random.normal(size=(count, 1))) * inside * form
    curves += random.normal(size=curves.shape)
    return np.clip(curves, -6.0, 12.0)[..., None].astype("float32"), labels
