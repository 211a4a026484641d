"""The benefit of a start from the teacher: ten architectures at half their width, without data.

    python -m benchmarks.starts [--seeds=0] [--networks=residual,separable]

The dataset is MNIST, on which no setting was chosen. Each teacher is trained for three epochs.
Students of method `best` start from the teacher's weights and from random ones. They are evaluated
before training (with batch normalization statistics repaired), after 400 steps on pictures, and
after the full recipe of 6,000 impressions and 1,600 steps. Sizes are steps instead of minutes, so
that results do not depend on the speed of the machine. Writes results/starts.json and
results/starts.md after every student; one that is in the file is not trained again. The test split
is only used for evaluation.
"""

import pathlib
import sys
import tempfile
import time
from typing import Any

from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs

_NETWORKS = flags.DEFINE_list("networks", [], "some of the ten; default: all")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "one student for each")
_OUTPUT = flags.DEFINE_string("output", "results/starts.json", "the results file")
_WORK = pathlib.Path("runs/starts")
_STAGES: dict[str, dict[str, Any]] = {
    "before training": {"minutes": 0},
    "400 steps, pictures": {"num_impressions": 0, "steps": 400},
    "full recipe": {"num_impressions": 6_000, "steps": 1_600},
}
_STARTS = ("teacher", "random")


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.starts", _lines)
    names = _NETWORKS.value or harness.run("starts:names")["names"]
    for seed in map(int, _SEEDS.value):
        for network in names:
            for start in _STARTS:
                for stage in _STAGES:
                    key = {"network": network, "start": start, "stage": stage, "seed": seed}
                    if results.has(key):
                        continue
                    found = harness.run("starts:student", 3600, **key)
                    print(f"{key}: {found['accuracy']:.2f} %", flush=True)
                    results.add({**key, **found})
    results.show()


def names() -> dict[str, list[str]]:
    """Return the names of the networks; in its own process, since it imports Keras."""
    from benchmarks import small_networks

    return {"names": list(small_networks.NAMES)}


def student(network: str, start: str, stage: str, seed: int) -> dict[str, Any]:
    """Train one student in this process, and evaluate it on the test split."""
    import keras

    from benchmarks import small_networks
    from benchmarks.tuning_data import accuracy
    from keras_zskd.inputs import datasets
    from keras_zskd.methods.best import Best
    from keras_zskd.runs.run import Run

    teacher = small_networks.teacher_of(network, "mnist", _WORK)
    images, labels = datasets.load("mnist", "test", teacher.input_shape)
    keras.utils.set_random_seed(seed)
    method = Best(start=start, **_STAGES[stage])
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        with Run(teacher, 0.5, {"name": method.name}, directory, seed, verbose=0) as run:
            trained = method.train(run)
        return {
            "seconds": round(time.perf_counter() - begun, 1),
            "teacher": accuracy(teacher.model, images, labels),
            "parameters": [teacher.num_parameters, trained.student.count_params()],
            "accuracy": accuracy(trained.student, images, labels),
        }


def _lines(runs: Runs) -> list[str]:
    stages = [f"{stage}, {start} start" for stage in _STAGES for start in _STARTS]
    lines = [
        "MNIST, test accuracy in percent, last epoch, half the width of each teacher.\n",
        f"| network | parameters | teacher | {' | '.join(stages)} | seeds |",
        "| --- | --- | --- |" + " --- |" * (len(stages) + 1),
    ]
    for network in dict.fromkeys(run["network"] for run in runs):
        mine = [run for run in runs if run["network"] == network]
        cells = []
        for stage in _STAGES:
            for start in _STARTS:
                found = [
                    run["accuracy"]
                    for run in mine
                    if (run["stage"], run["start"]) == (stage, start)
                ]
                cells.append(table.spread(found) if found else "")
        whole, half = mine[0]["parameters"]
        seeds = sorted({str(run["seed"]) for run in mine})
        lines.append(
            f"| {network} | {whole:,} to {half:,} | {mine[0]['teacher']:.2f} | {' | '.join(cells)} "
            f"| {', '.join(seeds)} |"
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
