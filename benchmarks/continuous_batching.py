"""Steps spent on an impression: continuous batching, against a fixed number of steps for each.

The recipe of method "zskd", with a tolerance and without one, and nothing else changed: the same number
of impressions from the same starts, and a LeNet-5-Half trained on each transfer set in the same way.
Fewer steps only count if the students are as good, so the test accuracy of both stands beside the
steps; it is used for nothing else. Fewer impressions and epochs than the recipe has, to keep it short.
"""

import pathlib
import statistics
import tempfile
import time
from typing import Any

from benchmarks import harness, table

_SEEDS = (0, 1, 2)
_DATASETS = ("mnist", "fashion_mnist")
_COUNT, _EPOCHS = 20_000, 30
# Nat. Chosen on held-out training images of Fashion-MNIST: 13 steps of 30.
_TOLERANCE = 0.8
_ARMS = {"continuous": True, "fixed": False}


def measure() -> dict[str, Any]:
    """Both schedules in turn, for each data set and seed."""
    runs: list[dict[str, Any]] = []
    for dataset in _DATASETS:
        teacher = f"runs/lenet5/teacher_{dataset}.keras"
        if not pathlib.Path(teacher).exists():
            print("    the teacher", flush=True)
            harness.run("ours:train", timeout=7200, dataset=dataset, output=teacher)
        for seed in _SEEDS:
            for arm, is_continuous in _ARMS.items():
                job = {"dataset": dataset, "seed": seed, "is_continuous": is_continuous}
                print(f"    {dataset}, {arm}, seed {seed}", flush=True)
                result = harness.run("continuous_batching:student", 3600, teacher=teacher, **job)
                runs.append({"arm": arm, **job, **result})
    rows = []
    for dataset in _DATASETS:
        for what, unit, goal, compare in (
            ("steps", "steps an impression", "0.4x", "ratio"),
            ("accuracy", "%", "within the spread", "difference"),
        ):
            sides = {
                arm: _spread([r[what] for r in runs if (r["dataset"], r["arm"]) == (dataset, arm)])
                for arm in _ARMS
            }
            rows.append(
                table.row(
                    f"continuous batching, {dataset}, {what}", unit, sides["continuous"],
                    "fixed schedule", sides["fixed"], goal, compare,
                )
            )  # fmt: skip
    return {"rows": rows, "runs": runs, "num_impressions": _COUNT, "epochs": _EPOCHS}


def _spread(values: list[float]) -> dict[str, Any]:
    spread = statistics.stdev(values)
    return {"median": statistics.mean(values), "variant": f"mean of seeds, s.d. {spread:.2f}"}


def student(teacher: str, dataset: str, seed: int, is_continuous: bool) -> dict[str, Any]:
    """Synthesise, train, measure."""
    import keras
    import numpy as np

    import keras_zskd as zskd
    from keras_zskd import datasets
    from keras_zskd.methods.zskd import best_recipe

    keras.utils.set_random_seed(seed)
    looked_at = zskd.Teacher(teacher, (0.0, 1.0))
    recipe = best_recipe(zskd.DirichletTargets)
    generator = recipe.synthesis(looked_at)
    generator.tolerance = _TOLERANCE if is_continuous else None
    images, labels = datasets.load(dataset, "test", looked_at.input_shape, (0.0, 1.0))
    learner = zskd.lenet5_half()
    with tempfile.TemporaryDirectory() as directory:
        spent: list[float] = []
        begun = time.perf_counter()
        watch = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: spent.append(logs["steps"])
        )
        transfer_set = generator.generate(
            _COUNT, directory, seed=seed, callbacks=[watch], verbose=0
        )
        seconds = time.perf_counter() - begun
        distiller = zskd.Distiller(
            looked_at, learner, recipe.temperature, augmentations=recipe.augmentations()
        )
        decay = keras.optimizers.schedules.CosineDecay(
            recipe.learning_rate, _EPOCHS * -(-_COUNT // recipe.batch_size)
        )
        distiller.compile(optimizer=keras.optimizers.Adam(decay))
        distiller.fit(
            transfer_set.dataset(recipe.batch_size, seed=seed),
            epochs=_EPOCHS, verbose=0, shuffle=False,
        )  # fmt: skip
    answers = learner.predict(images, batch_size=1000, verbose=0).argmax(axis=-1)
    return {
        "steps": float(np.mean(spent)),
        "accuracy": round(100 * float(np.mean(answers == labels)), 2),
        "synthesis_seconds": round(seconds, 1),
    }
