"""Time of a complete zero-shot distillation in a new process, from start to end.

LeNet-5 to LeNet-5-Half on MNIST by `keras_zskd.distill` with method "zskd", with default settings
and with its preset "demo" (half the impressions), into a new directory. The time includes imports,
synthesis, training, export, evaluation and the report. Accuracy is that of the last epoch on the
test split, which is used for nothing else. A missing teacher is trained first, which is not
included.
"""

import statistics
import time
from typing import Any

from benchmarks import harness, table

_SEEDS = (0, 1, 2)
_STAGES = {
    "synthesis": "impressions",
    "distillation": "training",
    "export": "export",
    "evaluation": "evaluation",
}
# As published by Nayak et al., ICML 2019, in percent.
_PAPER = ("paper", {"median": 98.77})
_PRESETS = (
    ("default", ("five minutes", {"median": 300.0}), "+0 % or more"),
    ("demo", ("two minutes", {"median": 120.0}), ""),
)


def measure(teacher: str = "runs/lenet5/teacher_mnist.keras") -> dict[str, Any]:
    """Measure wall time and accuracy for each seed."""
    harness.need_teacher("mnist", teacher)
    rows, runs = [], []
    for preset, limit, goal in _PRESETS:
        taken = [_run(teacher, preset, seed) for seed in _SEEDS]
        runs += taken
        seconds = [run["seconds"] for run in taken]
        time_taken = {"median": statistics.median(seconds), "best": min(seconds)}
        accuracy = table.mean_of_seeds([run["student_accuracy"] for run in taken])
        what = f'cold start, preset "{preset}"'
        rows += [
            table.row(f"{what}, time", "s", time_taken, *limit, "1x at most"),
            table.row(f"{what}, accuracy", "%", accuracy, *_PAPER, goal, "difference"),
        ]
    return {"rows": rows, "runs": runs}


def _run(teacher: str, preset: str, seed: int) -> dict[str, Any]:
    """Do one run in a new process and directory, with its wall time from start to end."""
    job = {"teacher": teacher, "preset": preset, "seed": seed}
    begun = time.perf_counter()
    run = harness.run("cold_start:distill", 7200, **job)
    wall = time.perf_counter() - begun
    # Imports, compilation outside the stages, reading data, pictures and the report.
    run["stages"]["rest"] = round(wall - sum(run["stages"].values()), 1)
    print(f"    {preset}, seed {seed}: {wall:.0f} s, {run['student_accuracy']:.2f} %", flush=True)
    return {**job, "seconds": round(wall, 1), **run}


def distill(teacher: str, preset: str, seed: int) -> dict[str, Any]:
    """Do one run; return seconds by stage, and the results."""
    import keras_zskd as zskd
    from benchmarks.whole_run import whole_run

    found = whole_run(teacher, zskd.METHODS["zskd"].preset(preset), "mnist", seed)
    stages = {name: found["stages"][stage] for name, stage in _STAGES.items()}
    return {**found, "stages": stages}
