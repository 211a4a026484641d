"""Whether the pixel range that a classifier was trained on can be inferred from the classifier.

    python -m benchmarks.pixel_ranges

Trains 32 small networks: on Fashion-MNIST and CIFAR-10 (pixels of a JPEG copy); with pixels in [0, 1],
[-1, 1], [0, 255] and standardized (mean 0, standard deviation 1 over the dataset); with and without
batch normalization; half of them with a preprocessing layer. Then calls `find_pixel_range`, which
sees only the network, and counts correct, undecided and wrong results. A range of standardized
pixels counts as correct if both of its ends are within a third of its width. Writes
results/pixel_ranges.json and results/pixel_ranges.md after every network; one that is in the file
is not trained again.
"""

import itertools
import sys
from typing import Any

from absl import app, flags

from benchmarks import harness
from benchmarks.results_file import ResultsFile, Runs

_OUTPUT = flags.DEFINE_string("output", "results/pixel_ranges.json", "the results file")
_DATASETS = ("fashion_mnist", "cifar10")
_RANGES = ("[0, 1]", "[-1, 1]", "[0, 255]", "standardized")
_TRAINED_ON, _EPOCHS = 20_000, 3


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.pixel_ranges", _lines)
    cases = itertools.product(_DATASETS, _RANGES, (False, True), (False, True))
    for dataset, pixels, batch_norm, layer in cases:
        key = {"dataset": dataset, "pixels": pixels, "batch_norm": batch_norm, "layer": layer}
        if not results.has(key):
            found = harness.run("pixel_ranges:network", 900, **key)
            print(f"{key}: {found['answer']}", flush=True)
            results.add({**key, **found})
    results.show()


def network(dataset: str, pixels: str, batch_norm: bool, layer: bool) -> dict[str, Any]:
    """Train a network in this process, and find its pixel range."""
    import keras
    import numpy as np

    from benchmarks.tuning_data import accuracy
    from keras_zskd.inputs import datasets
    from keras_zskd.models.logits import logits_view
    from keras_zskd.models.pixel_range import find_pixel_range

    shape = (32, 32, 3) if dataset == "cifar10" else (28, 28, 1)
    images, labels = datasets.load(dataset, "train", shape)
    test, test_labels = datasets.load(dataset, "test", shape)
    axes = (0, 1, 2)
    mean, deviation = images.mean(axes, dtype="float64"), images.std(axes, dtype="float64")
    scale, offset = {
        "[0, 1]": (1.0, 0.0),
        "[-1, 1]": (2.0, -1.0),
        "[0, 255]": (255.0, 0.0),
        "standardized": (1.0 / deviation, -mean / deviation),
    }[pixels]
    keras.utils.set_random_seed(0)
    preprocessing = _preprocessing(pixels, mean, deviation) if layer else None
    model = _network(shape, batch_norm, preprocessing)
    model.compile(
        keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    trained_on = images[:_TRAINED_ON] * scale + offset
    model.fit(trained_on, labels[:_TRAINED_ON], batch_size=64, epochs=_EPOCHS, verbose=0)
    found = find_pixel_range(logits_view(model))
    true = (float(np.mean(offset)), float(np.mean(scale + offset)))
    answer = "left open"
    if found.input_range is not None:
        width = true[1] - true[0]
        error = np.abs(np.subtract(found.input_range, true)).max()
        answer = "right" if error <= (width / 3 if pixels == "standardized" else 1e-6) else "wrong"
    return {
        "accuracy": accuracy(model, test * scale + offset, test_labels),
        "true": [round(end, 3) for end in true],
        "found": found.input_range,
        "evidence": found.evidence,
        "answer": answer,
    }


def _preprocessing(pixels: str, mean: Any, deviation: Any) -> Any:
    """The usual preprocessing layer for such pixels."""
    import keras

    if pixels == "[0, 1]":
        return keras.layers.Normalization(mean=mean, variance=deviation**2)
    if pixels == "[-1, 1]":
        return lambda x: x * 0.5 + 0.5
    if pixels == "[0, 255]":
        return keras.layers.Rescaling(1 / 127.5, offset=-1)
    return keras.layers.Rescaling(float(deviation.mean()), offset=float(mean.mean()))


def _network(shape: tuple[int, ...], batch_norm: bool, preprocessing: Any) -> Any:
    import keras
    from keras import layers

    pixels = keras.Input(shape)
    x = pixels if preprocessing is None else preprocessing(pixels)
    for filters in (16, 32, 64):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=not batch_norm)(x)
        x = layers.BatchNormalization()(x) if batch_norm else x
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    return keras.Model(pixels, layers.Dense(10)(layers.Flatten()(x)))


def _lines(runs: Runs) -> list[str]:
    lines = ["| networks | right | left open | wrong |", "| --- | --- | --- | --- |"]
    groups = {
        "all": lambda run: True,
        "with a preprocessing layer": lambda run: run["layer"],
        "without, batch normalization": lambda run: not run["layer"] and run["batch_norm"],
        "without, no batch normalization": lambda run: not run["layer"] and not run["batch_norm"],
    }
    for name, belongs in groups.items():
        answers = [run["answer"] for run in runs if belongs(run)]
        counts = [str(answers.count(answer)) for answer in ("right", "left open", "wrong")]
        lines.append(f"| {name} ({len(answers)}) | {' | '.join(counts)} |")
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
