"""Quantization without data: a depthwise and a residual teacher of CIFAR-10, in every form.

    python -m benchmarks.quantize

Trains the teachers once, in `runs/quantize/`, and quantizes each with `keras_zskd.quantize`: int8
calibrated on impressions and pictures, on uniform noise, and on real training images, and the forms
that need no calibration or keep wider activations. Test images are used for evaluation only.
Accuracies are in percent.
"""

import argparse
import pathlib
import tempfile
from typing import Any

import keras
from keras import layers

import keras_zskd as zskd
from benchmarks import small_networks
from benchmarks.results_file import ResultsFile, Runs
from keras_zskd.inputs import datasets

_SHAPE = (32, 32, 3)
_NAMES = ("depthwise", "residual")
_WORK = pathlib.Path("runs/quantize")


def _depthwise() -> keras.Model:
    """Twelve layers as in MobileNet, with ReLU6, which are known to be hard to quantize."""
    pixels = x = keras.Input(_SHAPE)

    def normalized(layer: Any, x: Any) -> Any:
        return layers.ReLU(6.0)(layers.BatchNormalization()(layer(x)))

    x = normalized(layers.Conv2D(32, 3, 2, padding="same", use_bias=False), x)
    for width, strides in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        depthwise = layers.DepthwiseConv2D(3, strides, padding="same", use_bias=False)
        x = normalized(layers.Conv2D(width, 1, use_bias=False), normalized(depthwise, x))
    return keras.Model(pixels, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def teacher_of(name: str, epochs: int) -> pathlib.Path:
    """Return the file of a teacher of `_NAMES`, trained once for `epochs` epochs."""
    path = _WORK / f"{name}_{epochs}.keras"
    if path.exists():
        return path
    keras.utils.set_random_seed(0)
    model = _depthwise() if name == "depthwise" else small_networks.build("residual", _SHAPE)
    images, labels = datasets.load("cifar10", "train", _SHAPE)
    decay = keras.optimizers.schedules.CosineDecay(4e-3, epochs * -(-len(images) // 128))
    model.compile(
        keras.optimizers.AdamW(decay, weight_decay=1e-2),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(images, labels, batch_size=128, epochs=epochs, verbose=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return path


def main() -> None:
    """Quantize each teacher and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20, help="of the teachers' training")
    parser.add_argument("--images", type=int, default=10_000, help="test images to measure on")
    parser.add_argument("--only", choices=_NAMES, help="one teacher; the other's rows are kept")
    parser.add_argument("--output", default="results/quantize.json")
    arguments = parser.parse_args()
    command = (
        f"python -m benchmarks.quantize --epochs={arguments.epochs} --images={arguments.images}"
    )
    results = ResultsFile(arguments.output, command, _lines)
    test = datasets.load("cifar10", "test", _SHAPE)
    for name in _NAMES if arguments.only is None else (arguments.only,):
        key = {"teacher": name, "epochs": arguments.epochs, "images": arguments.images}
        if results.has(key):
            continue
        path = teacher_of(name, arguments.epochs)
        with tempfile.TemporaryDirectory() as directory:
            done = zskd.quantize(
                zskd.Teacher(path, (0.0, 1.0)),
                directory,
                dataset=(test[0][: arguments.images], test[1][: arguments.images]),
                training_dataset="cifar10",
            )
        results.add({**key, "forms": done.rows})
    results.show()


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| teacher, its epochs | test images | form | accuracy | agreement on impressions | KB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        for form in run["forms"]:
            name = f"{run['teacher']}, {run['epochs']} | {run['images']:,}"
            figures = ["-", "-", "-"]
            if "error" not in form:
                share = [f"{100 * form[key]:.2f}" for key in ("accuracy", "agreement")]
                figures = [*share, f"{form['bytes'] / 1e3:.0f}"]
            lines.append(f"| {' | '.join([name, form['model'], *figures])} |")
    return lines


if __name__ == "__main__":
    main()
