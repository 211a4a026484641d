"""The whole of zero-shot distillation in a fresh process, from its start to its end.

LeNet-5 to LeNet-5-Half on MNIST by `keras_zskd.distill` with method "zskd" as it comes, into a fresh
directory: synthesis, training, export, measuring and the report, and the imports before them. Accuracy
is that of the last epoch on the test split, which is used for nothing else. A teacher that is not there
is trained first; that takes no part in the time.
"""

import pathlib
import statistics
import tempfile
import time
from typing import Any

from benchmarks import harness, table

_SEEDS = (0, 1, 2)
_STAGES = ("synthesis", "distillation", "export", "evaluation")
# As printed by Nayak et al., ICML 2019, in per cent.
_PAPER = 98.77
_LIMIT_SECONDS = 300.0


def measure(teacher: str = "runs/lenet5/teacher_mnist.keras") -> dict[str, Any]:
    """Wall time and accuracy for each seed."""
    if not pathlib.Path(teacher).exists():
        print("    the teacher", flush=True)
        harness.run("ours:train", timeout=7200, dataset="mnist", output=teacher)
    runs = []
    for seed in _SEEDS:
        with tempfile.TemporaryDirectory() as directory:
            begun = time.perf_counter()
            run = harness.run(
                "cold_start:distill", 7200, teacher=teacher, directory=directory, seed=seed
            )
            wall = time.perf_counter() - begun
        # Imports, compilation outside of the stages, reading data, pictures and the report.
        run["stages"]["rest"] = round(wall - sum(run["stages"].values()), 1)
        runs.append({"seed": seed, "seconds": round(wall, 1), **run})
        print(f"    seed {seed}: {wall:.0f} s, {run['student_accuracy']:.2f} %", flush=True)
    seconds = [run["seconds"] for run in runs]
    accuracies = [run["student_accuracy"] for run in runs]
    time_taken = {"median": statistics.median(seconds), "best": min(seconds)}
    accuracy = {
        "median": statistics.mean(accuracies),
        "variant": f"mean of seeds, s.d. {statistics.stdev(accuracies):.2f}",
    }
    limit, paper = {"median": _LIMIT_SECONDS}, {"median": _PAPER}
    return {
        "rows": [
            table.row(
                "cold start, wall time", "s", time_taken, "five minutes", limit, "1x at most"
            ),
            table.row(
                "cold start, accuracy", "%", accuracy, "paper", paper, "+0 % or more", "difference"
            ),
        ],
        "runs": runs,
    }


def distill(teacher: str, directory: str, seed: int) -> dict[str, Any]:
    """One run; seconds by stage and what came out."""
    import keras_zskd as zskd

    run = zskd.distill(
        teacher,
        zskd.lenet5_half(),
        "zskd",
        pathlib.Path(directory) / "run",
        seed=seed,
        input_range=(0.0, 1.0),
        dataset="mnist",
        verbose=0,
    )
    rows = {row["model"]: row for row in run["results"]["rows"]}
    return {
        "stages": {stage: round(run[stage]["seconds"], 1) for stage in _STAGES},
        "num_impressions": run["synthesis"]["num_impressions"],
        "epochs": run["distillation"]["config"]["epochs"],
        "teacher_accuracy": round(100 * rows["teacher"]["accuracy"], 2),
        "student_accuracy": round(100 * rows["student"]["accuracy"], 2),
        "student_int8_accuracy": round(100 * rows["student int8"]["accuracy"], 2),
    }
