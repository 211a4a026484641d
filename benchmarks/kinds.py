"""Method `best`, compared with noise and `zskd`, on kinds of teachers that it was not tuned on.

    python -m benchmarks.kinds [--kinds=table,signal] [--seeds=0,1,2]

The teachers are those of `benchmarks.teachers`, and students have half their width. `best` and
`zskd` run with their default settings; `zskd` gets fewer impressions if it would take more than ten
minutes. "noise" trains the student of `best` (from the teacher's weights) on normal noise, for as
many steps as `best`. Writes results/kinds.json and results/kinds.md after every student. The test
rows are only used for evaluation.
"""

import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs

_WAYS = ("best", "zskd", "noise")
_KINDS = flags.DEFINE_list(
    "kinds", ["table", "signal", "color", "depthwise", "labels"], "of `teachers.KINDS`"
)
_SEEDS = flags.DEFINE_list("seeds", ["0"], "one student for each")
_OUTPUT = flags.DEFINE_string("output", "results/kinds.json", "the results file")
# Impressions of `zskd`, where its default of 40,000 would take too long.
_FEWER = {"color": 4_000, "labels": 2_000}


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
    """Train one student in this process, and evaluate it on the test rows."""
    import keras

    import keras_zskd as zskd
    from benchmarks.teachers import teacher_of
    from benchmarks.tuning_data import accuracy
    from keras_zskd.runs.run import Run

    teacher, inputs, labels = teacher_of(kind)
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
    """Train a student from the teacher's weights on normal noise around the middle of the range."""
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


def _lines(runs: Runs) -> list[str]:
    lines = [
        "Accuracy in percent on rows for measuring, last epoch (labels: mean average precision); "
        "seconds of the training stages.\n",
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
