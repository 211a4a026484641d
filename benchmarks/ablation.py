"""Ablation of method `best`: what each of its parts contributes, and which settings suit it.

    python -m benchmarks.ablation [--teachers=fashion_mnist,cifar10] [--studies=parts,families]
        [--seeds=0]

Each run changes one thing. Students are evaluated on the last 10,000 images of the training split,
which neither they nor their teachers have seen; no test split is read. Fashion-MNIST and MNIST:
LeNet-5 to LeNet-5-Half. CIFAR-10: six convolutions with batch normalization to half their width.
The study of rates has networks of `benchmarks.small_networks`, trained on Fashion-MNIST.
The study of families also has teachers of `benchmarks.teachers`, evaluated on their test rows; no
choice is based on these. The numbers of impressions and of steps are fixed, so that the results do
not depend on the speed of the machine. Writes results/ablation.json and results/ablation.md after
every run; a run that is in the file is not repeated.
"""

import contextlib
import pathlib
import sys
import tempfile
import time
from typing import Any

import scipy.stats
from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs

_TEACHERS = flags.DEFINE_list("teachers", [], "some of those of the studies; default: all")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "one student for each setting and seed")
_OUTPUT = flags.DEFINE_string("output", "results/ablation.json", "the results file")
_WORK = pathlib.Path("runs/tune")
# Impressions and training steps of 256 examples.
_SIZES = {
    "mnist": {"num_impressions": 12_000, "steps": 1_600},
    "fashion_mnist": {"num_impressions": 12_000, "steps": 1_600},
    "cifar10": {"num_impressions": 4_000, "steps": 320},
    "color": {"num_impressions": 1_000, "steps": 200},
}
_SMALL = {"num_impressions": 2_000, "steps": 800}
_SIZES_OF_RATES = {"num_impressions": 6_000, "steps": 1_600}
_TUNED_ON = ("fashion_mnist", "cifar10")
_TEACHERS_OF = {
    "parts": _TUNED_ON,
    "averages": _TUNED_ON,
    "hints": ("fashion_mnist",),
    "settings": _TUNED_ON,
    "uses": ("fashion_mnist",),
    "families": (*_TUNED_ON, "mnist", "color", "depthwise", "digits", "residual"),
    # Networks of `benchmarks.small_networks` with few parameters, trained on Fashion-MNIST.
    "rates": (
        "strided convolutions, average pooling",
        "depthwise and pointwise",
        "separable",
        "densely concatenated",
        "parallel branches",
    ),
}
_STUDIES = flags.DEFINE_list("studies", list(_TEACHERS_OF), "which rows")
_ALONE = {"num_impressions": 0}
_HALF = {"impression_share": 0.5}
_LONG = {"num_impressions": 16_000, "steps": 4_800}
_ROWS: dict[str, dict[str, dict[str, Any]]] = {
    "parts": {
        "everything": {},
        "1 without pictures in the training": {"impression_share": 1.0},
        "2 without the teacher's choice: all families alike": {"families": "all"},
        "3 without impressions": _ALONE,
        "3 impressions that start from the other canvas": {"canvas": "other"},
        "4 without the teacher's weights": {"start": "random"},
        "5 without mixup": {"mixup": 0.0},
        "5 without hints": {"hint": 0.0},
        "5 with hints": {"hint": 30.0},
    },
    # Not part of the method.
    "averages": {"5 with averaged weights": {"tried": "averages"}},
    "hints": {"5 with a hint on the layer before the logits": {"tried": "hint"}},
    # Measured before 0.75 became the default share, and before long trainings got a smaller one.
    "settings": {
        "impression_share=0.5": {"impression_share": 0.5},
        "impression_share=0.25": {"impression_share": 0.25},
        "impression_share=0.9": {"impression_share": 0.9},
        "impression_share=0.5, learning_rate=0.0005": {**_HALF, "learning_rate": 5e-4},
        "impression_share=0.5, learning_rate=0.001": {**_HALF, "learning_rate": 1e-3},
        "impression_share=0.5, learning_rate=0.004": {**_HALF, "learning_rate": 4e-3},
        "impression_share=0.5, temperature=10": {**_HALF, "temperature": 10.0},
    },
    # Many steps: each impression is used 58 times at the largest share, and 28 times by default.
    "uses": {
        "long": _LONG,
        "long, impression_share=0.75": {**_LONG, "impression_share": 0.75},
        "long, impression_share=0.15": {**_LONG, "impression_share": 0.15},
        "long, without impressions": {**_LONG, **_ALONE},
    },
    "rates": {
        f"learning_rate={rate:g}": {**_SIZES_OF_RATES, "learning_rate": rate}
        for rate in (2e-3, 5e-3, 1e-2)
    },
    "families": {
        f"{name} alone": {**_ALONE, "families": name}
        for name in ("leaves", "noise", "networks", "things", "blobs", "strokes", "hierarchy")
    },
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.ablation", _lines)
    for seed in map(int, _SEEDS.value):
        for study in _STUDIES.value:
            for dataset in _TEACHERS_OF[study]:
                if _TEACHERS.value and dataset not in _TEACHERS.value:
                    continue
                _study(results, study, dataset, seed)
    results.show()


def _study(results: ResultsFile, study: str, dataset: str, seed: int) -> None:
    """Run the missing rows of a study for one teacher."""
    for row, changed in _ROWS[study].items():
        key = {"dataset": dataset, "study": study, "row": row, "seed": seed}
        if not results.has(key):
            found = harness.run(
                "ablation:student", 7200, dataset=dataset, seed=seed, changed=changed
            )
            print(f"{key}: {found['accuracy']:.2f} %", flush=True)
            results.add({**key, **found})
    key = {"dataset": dataset, "study": "scores"}
    if study == "families" and not results.has(key):
        results.add({**key, **harness.run("ablation:scores", 900, dataset=dataset)})


def student(dataset: str, seed: int, changed: dict[str, Any]) -> dict[str, Any]:
    """Train one student in this process, and evaluate it on the held-out training images."""
    import keras

    import keras_zskd as zskd
    from benchmarks import tried
    from benchmarks.tuning_data import accuracy
    from keras_zskd.inputs.batching import STEPS_AT_ONCE
    from keras_zskd.methods.best import Best
    from keras_zskd.runs.run import Run

    keras.utils.set_random_seed(seed)
    teacher, images, labels = _teacher(dataset)
    settings = {**_SIZES.get(dataset, _SMALL), **changed}
    addition = settings.pop("tried", None)
    callbacks = []
    if addition == "averages":  # Over the last tenth of the training.
        callbacks.append(tried.AveragedWeights(0.1 * settings["steps"] / STEPS_AT_ONCE))
    if settings.get("canvas") == "other":
        settings["canvas"] = "blobs" if teacher.batch_norms else "pictures"
    method = Best(**settings)
    width = zskd.lenet5_half() if teacher.input_shape == (32, 32, 1) else 0.5
    with (
        tempfile.TemporaryDirectory() as directory,
        tried.hint() if addition == "hint" else contextlib.nullcontext(),
    ):
        begun = time.perf_counter()
        with Run(
            teacher, width, {"name": method.name}, directory, seed, None, callbacks, verbose=0
        ) as run:
            trained = method.train(run)
        return {
            "settings": settings,
            "seconds": round(time.perf_counter() - begun, 1),
            "teacher": accuracy(teacher.model, images, labels),
            "accuracy": accuracy(trained.student, images, labels),
        }


def scores(dataset: str) -> dict[str, Any]:
    """The teacher's score of each family of pictures."""
    from keras_zskd.distillation.family_choice import rate_families

    teacher, _, _ = _teacher(dataset)
    ratings = rate_families(teacher)
    found = zip(ratings.names, ratings.scores, strict=True)
    return {"scores": {str(name): round(float(score), 3) for name, score in found}}


def _teacher(dataset: str) -> tuple[Any, Any, Any]:
    """Return the teacher, and images and labels for the evaluation."""
    from benchmarks import small_networks, teachers, tuning_data
    from keras_zskd.inputs import datasets

    if dataset in teachers.KINDS:
        return teachers.teacher_of(dataset)
    held_out = tuning_data.HELD_OUT
    if dataset in _TEACHERS_OF["rates"]:
        teacher = small_networks.teacher_of(dataset, "fashion_mnist", _WORK, held_out)
        images, labels = datasets.load("fashion_mnist", "train", (28, 28, 1))
    else:
        teacher, images, labels = tuning_data.tuning_teacher(dataset)
    return teacher, images[-held_out:], labels[-held_out:]


def _lines(runs: Runs) -> list[str]:
    lines = [
        "Accuracy in percent on held-out images of the training split, last epoch.\n",
        "| teacher | its accuracy | what is changed | student | seeds |",
        "| --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        if run["study"] != "scores":
            groups.setdefault((run["dataset"], run["row"]), []).append(run)
    for (dataset, row), same in groups.items():
        accuracies = [run["accuracy"] for run in same]
        lines.append(
            f"| {dataset} | {same[0]['teacher']:.2f} | {row} | {table.spread(accuracies)} "
            f"| {', '.join(str(run['seed']) for run in same)} |"
        )
    return [*lines, "", *_correlations(runs)]


def _correlations(runs: Runs) -> list[str]:
    """For each dataset, how well the teacher's scores rank the families by student accuracy."""
    lines = []
    for scores in (run for run in runs if run["study"] == "scores"):
        alone = [
            (scores["scores"][run["settings"]["families"]], run["accuracy"])
            for run in runs
            if (run["dataset"], run["study"]) == (scores["dataset"], "families")
        ]
        found = scipy.stats.spearmanr(*zip(*alone, strict=True)).statistic
        lines.append(
            "Rank correlation of the teacher's score of a family and the accuracy of a student "
            f"trained on it alone, {scores['dataset']}: {found:.2f} ({len(alone)} students)."
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
