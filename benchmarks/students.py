"""Whether faster synthesis makes students worse: continuous batching, fewer steps, bfloat16.

The baseline is the recipe of method "zskd", with its fixed number of float32 steps per impression.
Each variant changes one thing: a tolerance, so that impressions leave as soon as they are done;
about as few steps for every impression, done or not; or the teacher's arithmetic in bfloat16. All
have the same number of impressions from the same starts, and a LeNet-5-Half is trained on each
transfer set in the same way. Test accuracy is measured at the end and used for nothing else. To
save time, there are fewer impressions and epochs than in the recipe.
"""

import tempfile
import time
from typing import Any

from benchmarks import harness, table

_SEEDS = (0, 1, 2)
_DATASETS = ("mnist", "fashion_mnist")
_COUNT, _EPOCHS = 12_000, 30
# In nats. Chosen on held-out training images of Fashion-MNIST, where it takes 11 of 30 steps.
_TOLERANCE = 1.0
_ARMS: dict[str, dict[str, Any]] = {
    "30 steps in float32": {},
    "continuous batching": {"tolerance": _TOLERANCE},
    "12 steps": {"steps": 12},
    "bfloat16": {"precision": "bfloat16"},
}
_KEPT = "within the spread"


def measure() -> dict[str, Any]:
    """Run all variants in turn, for each dataset and seed."""
    runs: list[dict[str, Any]] = []
    for dataset in _DATASETS:
        teacher = f"runs/lenet5/teacher_{dataset}.keras"
        harness.need_teacher(dataset, teacher)
        for seed in _SEEDS:
            for arm, changed in _ARMS.items():
                job = {"dataset": dataset, "seed": seed, "changed": changed}
                print(f"    {dataset}, {arm}, seed {seed}", flush=True)
                result = harness.run("students:student", 3600, teacher=teacher, **job)
                runs.append({"arm": arm, **job, **result})
    rows = []
    for dataset in _DATASETS:
        rows += [
            _row(runs, dataset, "continuous batching", "steps", "steps an impression", "0.4x"),
            _row(runs, dataset, "continuous batching", "accuracy", "%", _KEPT),
            _row(runs, dataset, "12 steps", "accuracy", "%", ""),
            _row(runs, dataset, "bfloat16", "accuracy", "%", _KEPT),
        ]
    return {"rows": rows, "runs": runs, "num_impressions": _COUNT, "epochs": _EPOCHS}


def _row(
    runs: list[dict[str, Any]], dataset: str, arm: str, what: str, unit: str, goal: str
) -> dict[str, Any]:
    """Compare a variant with the baseline, by means over the seeds."""
    plain = next(iter(_ARMS))
    ours, peer = (
        table.mean_of_seeds(
            [run[what] for run in runs if (run["dataset"], run["arm"]) == (dataset, name)]
        )
        for name in (arm, plain)
    )
    compare = "difference" if what == "accuracy" else "ratio"
    return table.row(f"{arm}, {dataset}, {what}", unit, ours, plain, peer, goal, compare)


def student(teacher: str, dataset: str, seed: int, changed: dict[str, Any]) -> dict[str, Any]:
    """Synthesize with the changed settings, train a student, and evaluate it."""
    import keras
    import numpy as np

    import keras_zskd as zskd
    from keras_zskd.inputs import datasets
    from keras_zskd.methods.synthesis_method import AUGMENTATIONS

    keras.utils.set_random_seed(seed)
    looked_at = zskd.Teacher(teacher, (0.0, 1.0))
    method = zskd.METHODS["zskd"]()
    generator = zskd.ImpressionGenerator(looked_at, **{"precision": "float32", **changed})
    images, labels = datasets.load(dataset, "test", looked_at.input_shape, (0.0, 1.0))
    learner = zskd.lenet5_half()
    with tempfile.TemporaryDirectory() as directory:
        spent: list[float] = []
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: spent.append(logs["steps"])
        )
        begun = time.perf_counter()
        transfer_set = generator.generate(
            _COUNT, directory, seed=seed, callbacks=[watch], verbose=0
        )
        seconds = time.perf_counter() - begun
        distiller = zskd.Distiller(
            looked_at, learner, method.temperature, augmentations=AUGMENTATIONS[method.augmentation]
        )
        decay = keras.optimizers.schedules.CosineDecay(
            method.learning_rate, _EPOCHS * -(-_COUNT // method.batch_size)
        )
        distiller.compile(optimizer=keras.optimizers.Adam(decay), steps_per_execution=8)
        data = transfer_set.dataset(method.batch_size, seed=seed)
        distiller.fit(data, epochs=_EPOCHS, verbose=0, shuffle=False)
    answers = learner.predict(images, batch_size=1000, verbose=0).argmax(axis=-1)
    return {
        "steps": float(np.mean(spent)),
        "accuracy": round(100 * float(np.mean(answers == labels)), 2),
        "synthesis_seconds": round(seconds, 1),
    }
