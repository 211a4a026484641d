"""Measures candidates for the default settings, without a test split.

    python -m benchmarks.tune [--studies=batch_norm_weight,tolerance] [--seeds=0,1,2]

The last 10,000 images of a training split are held out: the teacher is trained on the others, and
students are evaluated on the held-out ones. No test split is read. Each student is trained on
impressions of the default recipe with one setting changed. Its result is written to
benchmarks/tuning.json as soon as it is finished; the same command resumes where it was stopped.
benchmarks/tuning.md is made from this file.
"""

import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any

import keras
import numpy as np
from absl import app, flags

import keras_zskd as zskd
from benchmarks import table
from benchmarks.machine import hardware
from benchmarks.tuning_data import HELD_OUT, TEACHER_SEED, accuracy, tuning_teacher
from keras_zskd.methods.synthesis_method import AUGMENTATIONS

_STUDIES = flags.DEFINE_list("studies", ["batch_norm_weight", "tolerance"], "which ones to run")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "one student for each setting and seed")

_LOG = pathlib.Path("benchmarks/tuning.json")
# For each study: dataset, impressions, epochs of the student, and settings of the generator.
_STUDY: dict[str, list[tuple[str, int, int, list[dict[str, Any]]]]] = {
    "batch_norm_weight": [
        ("cifar10", 6_000, 30, [{"batch_norm_weight": w} for w in (0.0, 0.005, 0.05, 0.5, 5.0)]),
    ],
    "tolerance": [
        (dataset, 12_000, 30, [{"tolerance": None}, {"tolerance": 1.0}])
        for dataset in ("mnist", "fashion_mnist")
    ],
}


def main(argv: list[str]) -> None:
    """Run what is missing, then write the tables."""
    del argv
    log = json.loads(_LOG.read_text()) if _LOG.exists() else {"teachers": {}, "runs": []}
    log["hardware"], log["command"] = hardware(), "python -m benchmarks.tune"
    for study in _STUDIES.value:
        for dataset, count, epochs, settings in _STUDY[study]:
            teacher, images, labels = tuning_teacher(dataset)
            images, labels = images[-HELD_OUT:], labels[-HELD_OUT:]
            log["teachers"][dataset] = {
                "network": teacher.original.name,
                "seed": TEACHER_SEED,
                "accuracy": accuracy(teacher.model, images, labels),
            }
            for seed in map(int, _SEEDS.value):
                for setting in settings:
                    key = {"study": study, "dataset": dataset, "seed": seed, "setting": setting}
                    if any(key.items() <= run.items() for run in log["runs"]):
                        continue
                    print(key, flush=True)
                    result = student(teacher, images, labels, seed, count, epochs, **setting)
                    log["runs"].append({**key, **result})
                    _write(log)
    _write(log)
    print(_LOG.with_suffix(".md").read_text())


def student(
    teacher: zskd.Teacher,
    images: np.ndarray,
    labels: np.ndarray,
    seed: int,
    count: int,
    epochs: int,
    batch_norm_weight: float | None = None,
    **settings: Any,
) -> dict[str, float]:
    """Synthesize with the default recipe, updated by `settings`; train and evaluate a student.

    Args:
        teacher: The teacher.
        images: Images for the evaluation.
        labels: Labels of the images.
        seed: Seed of synthesis, initialization and training.
        count: Number of impressions.
        epochs: Epochs of the training.
        batch_norm_weight: Weight of `BatchNormStatistics`. Defaults to that of the library.
        **settings: Arguments of `ImpressionGenerator`.
    """
    keras.utils.set_random_seed(seed)
    method = zskd.METHODS["zskd"]()
    if batch_norm_weight is not None:
        priors = [zskd.TotalVariation(), zskd.BatchNormStatistics(batch_norm_weight)]
        settings["priors"] = priors
    generator = zskd.ImpressionGenerator(teacher, **settings)
    is_lenet = teacher.input_shape[-1] == 1
    learner = zskd.lenet5_half() if is_lenet else zskd.slim(teacher.original, 0.5)
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        steps: list[float] = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: steps.append(logs["steps"])
        )
        made = generator.generate(count, directory, seed=seed, callbacks=[watch], verbose=0)
        seconds = time.perf_counter() - begun
        arrays = made.arrays()
        distiller = zskd.Distiller(
            teacher, learner, method.temperature, augmentations=AUGMENTATIONS[method.augmentation]
        )
        decay = keras.optimizers.schedules.CosineDecay(
            method.learning_rate, epochs * -(-count // method.batch_size)
        )
        distiller.compile(optimizer=keras.optimizers.Adam(decay))
        data = made.dataset(method.batch_size, seed=seed)
        distiller.fit(data, epochs=epochs, verbose=0, shuffle=False)
    is_as_asked = arrays["logits"].argmax(-1) == arrays["target"].argmax(-1)
    return {
        "accuracy": accuracy(learner, images, labels),
        "gap": round(float(arrays["gap"].mean()), 3),
        "as_asked": round(float(np.mean(is_as_asked)), 4),
        "steps": round(float(np.mean(steps)), 2),
        "synthesis_seconds": round(seconds, 1),
    }


def _write(log: dict[str, Any]) -> None:
    _LOG.write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Settings that were chosen by measurement\n",
        f"`{log['command']}`, {log['hardware']}. Accuracy on the last 10,000 images of the training",
        "split, which neither teacher nor student has seen; no test split is read. Mean over seeds,",
        "and the standard deviation where there are several.\n",
        "| study | dataset | teacher | setting | seeds | accuracy | gap (nat) | teacher predicts as "
        "asked | steps an impression |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in log["runs"]:
        setting = ", ".join(f"{name}={value}" for name, value in run["setting"].items())
        teacher = log["teachers"][run["dataset"]]["accuracy"]
        label = f"| {run['study']} | {run['dataset']} | {teacher} | {setting} |"
        groups.setdefault(label, []).append(run)
    for label, runs in groups.items():
        values = [run["accuracy"] for run in runs]
        gap, asked, steps = (
            statistics.mean(run[name] for run in runs) for name in ("gap", "as_asked", "steps")
        )
        lines.append(
            f"{label} {len(runs)} | {table.spread(values)} | {gap:.2f} | "
            f"{asked:.1%} | {steps:.1f} |"
        )
    _LOG.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
