"""Method `best` on teachers of kinds for which nothing was chosen, next to noise and to `zskd`.

    python -m benchmarks.kinds [--kinds=table,signal] [--seeds=0,1,2]

    table       30 measurements of breast cancer cells (Wisconsin, 569 rows, in scikit-learn);
                dense layers with batch normalization.
    signal      cylinder, bell and funnel curves of 128 values (Saito, 1994), drawn by their formula;
                one-dimensional convolutions.
    color       CIFAR-10 (pixels of a JPEG copy) enlarged to 64x64; convolutions without batch
                normalization.
    depthwise   Fashion-MNIST; depthwise and pointwise convolutions with batch normalization.

Students have half the width. `best` and `zskd` run at their default settings; where `zskd` would take
more than ten minutes, it gets fewer impressions. "noise" trains the student of `best` (from the
teacher's weights) on as many steps of normal noise as `best` made. Writes results/kinds.json and
results/kinds.md after every student. The test rows are only ever used to measure.
"""

import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs

_ALL = ("table", "signal", "color", "depthwise")
_WAYS = ("best", "zskd", "noise")
_KINDS = flags.DEFINE_list("kinds", list(_ALL), "some of the four")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "one student for each")
_OUTPUT = flags.DEFINE_string("output", "results/kinds.json", "the results file")
_WORK = pathlib.Path("runs/kinds")
# Of `zskd` where its own 40,000 would take too long.
_FEWER = {"color": 4_000}


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.kinds", _lines)
    for seed in map(int, _SEEDS.value):
        for kind in _KINDS.value:
            for way in _WAYS:
                key = {"kind": kind, "way": way, "seed": seed}
                if results.has(key):
                    continue
                steps = {
                    (run["kind"], run["seed"]): run["steps"]
                    for run in results.runs
                    if run["way"] == "best"
                }
                found = harness.run("kinds:student", 7200, **key, steps=steps.get((kind, seed), 0))
                print(f"{key}: {found['accuracy']:.2f} %", flush=True)
                results.add({**key, **found})
    results.show()


def student(kind: str, way: str, seed: int, steps: int) -> dict[str, Any]:
    """Train one student in this process, and measure it on the test rows."""
    import keras

    import keras_zskd as zskd
    from benchmarks.tuning_data import accuracy
    from keras_zskd.runs.run import Run

    train, (inputs, labels) = _data(kind)
    input_range = (float(train[0].min()), float(train[0].max()))
    teacher = zskd.Teacher(_trained(kind, *train), input_range)
    keras.utils.set_random_seed(seed)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        if way == "noise":
            model = _on_noise(teacher, seed, steps)
        else:
            fewer = {"num_impressions": _FEWER[kind]} if kind in _FEWER and way == "zskd" else {}
            method = zskd.METHODS[way].preset("default", **fewer)
            with Run(teacher, 0.5, {"name": way}, directory, seed, verbose=0) as run:
                model = method.train(run).student
                config = run.record.run["stages"]["training"]["config"]
                steps = config["epochs"] * config["steps"]
    return {
        "seconds": round(time.perf_counter() - begun, 1),
        "steps": steps,
        "parameters": [teacher.num_parameters, model.count_params()],
        "teacher": accuracy(teacher.model, inputs, labels),
        "accuracy": accuracy(model, inputs, labels),
    }


def _on_noise(teacher: Any, seed: int, steps: int) -> Any:
    """A student from the teacher's weights, trained on normal noise in the middle of the range."""
    import keras

    import keras_zskd as zskd
    from keras_zskd.inputs.source import Noise

    model = zskd.slim(teacher.original, 0.5, weights="teacher")
    distiller = zskd.Distiller(teacher, model, temperature=4.0, seed=seed)
    decay = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    distiller.compile(keras.optimizers.Adam(decay))
    low, high = teacher.input_range
    noise = Noise(teacher.input_shape, (low + high) / 2, (high - low) / 4)
    distiller.fit(noise.stream(256, seed), steps_per_epoch=steps, epochs=1, verbose=0)
    return model


def _data(kind: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Inputs and labels, for training and for measuring."""
    if kind == "table":
        from sklearn import datasets as bundled
        from sklearn.model_selection import train_test_split

        rows, labels = bundled.load_breast_cancer(return_X_y=True)
        # To [-1, 1] for each column, as people scale tables; the logarithm since columns are skewed.
        rows = np.log1p(rows)
        rows = 2.0 * (rows - rows.min(axis=0)) / np.ptp(rows, axis=0) - 1.0
        x, y, labels_x, labels_y = train_test_split(
            rows.astype("float32"), labels, test_size=0.4, random_state=0, stratify=labels
        )
        return (x, labels_x), (y, labels_y)
    if kind == "signal":
        return _curves(6_000, seed=0), _curves(6_000, seed=1)
    from keras_zskd.inputs import datasets

    name = "cifar10" if kind == "color" else "fashion_mnist"
    shape = (64, 64, 3) if kind == "color" else (28, 28, 1)
    return datasets.load(name, "train", shape), datasets.load(name, "test", shape)


def _curves(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cylinder, bell, funnel (Saito, 1994): a plateau, a ramp up or a ramp down, in noise."""
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


def _trained(kind: str, inputs: np.ndarray, labels: np.ndarray) -> str:
    """Where the teacher is; it is trained once."""
    import keras

    path = _WORK / f"{kind}.keras"
    if not path.exists():
        keras.utils.set_random_seed(1)
        model = _network(kind, inputs.shape[1:], int(labels.max()) + 1)
        epochs = {"table": 60, "signal": 5, "color": 6, "depthwise": 5}[kind]
        decay = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(inputs) // 64))
        model.compile(
            keras.optimizers.AdamW(decay, weight_decay=1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        model.fit(inputs, labels, batch_size=64, epochs=epochs, verbose=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return str(path)


def _network(kind: str, shape: tuple[int, ...], num_classes: int) -> Any:
    import keras
    from keras import layers

    bodies = {
        "table": [
            *[layers.Dense(64, use_bias=False), layers.BatchNormalization(), layers.ReLU()],
            *[layers.Dense(32, use_bias=False), layers.BatchNormalization(), layers.ReLU()],
        ],
        "signal": [
            layers.Conv1D(32, 7, strides=2, activation="relu"),
            layers.Conv1D(64, 5, strides=2, activation="relu"),
            layers.GlobalAveragePooling1D(),
        ],
        "color": [
            layers.Conv2D(32, 5, strides=2, padding="same", activation="relu"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(128, 3, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, "relu"),
        ],
        "depthwise": [
            *[layers.Conv2D(32, 3, strides=2, use_bias=False), layers.BatchNormalization()],
            layers.ReLU(),
            *[layers.DepthwiseConv2D(3, use_bias=False), layers.BatchNormalization()],
            layers.ReLU(),
            *[layers.Conv2D(64, 1, use_bias=False), layers.BatchNormalization(), layers.ReLU()],
            *[layers.DepthwiseConv2D(3, strides=2, use_bias=False), layers.BatchNormalization()],
            layers.ReLU(),
            *[layers.Conv2D(128, 1, use_bias=False), layers.BatchNormalization(), layers.ReLU()],
            layers.GlobalAveragePooling2D(),
        ],
    }
    return keras.Sequential([keras.Input(shape), *bodies[kind], layers.Dense(num_classes)])


def _lines(runs: Runs) -> list[str]:
    lines = [
        "Accuracy in percent on rows for measuring, last epoch; seconds of the training stages.\n",
        f"| teacher | parameters | its accuracy | {' | '.join(_WAYS)} "
        f"| {' | '.join(f'{way}, s' for way in _WAYS)} | seeds |",
        "| --- | --- | --- |" + " --- |" * (2 * len(_WAYS) + 1),
    ]
    for kind in dict.fromkeys(run["kind"] for run in runs):
        mine = [run for run in runs if run["kind"] == kind]
        by_way = [[run for run in mine if run["way"] == way] for way in _WAYS]
        accuracies = [
            table.spread([run["accuracy"] for run in same]) if same else "" for same in by_way
        ]
        seconds = [
            f"{np.mean([run['seconds'] for run in same]):.0f}" if same else "" for same in by_way
        ]
        whole, half = mine[0]["parameters"]
        seeds = sorted({str(run["seed"]) for run in mine})
        lines.append(
            f"| {kind} | {whole:,} to {half:,} | {mine[0]['teacher']:.2f} | {' | '.join(accuracies)} "
            f"| {' | '.join(seconds)} | {', '.join(seeds)} |"
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
