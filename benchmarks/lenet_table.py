"""LeNet-5 to LeNet-5-Half without data on MNIST and Fashion-MNIST: the pair of the ZSKD paper.

    python -m benchmarks.lenet_table [--datasets=mnist,fashion_mnist] [--methods=...] [--seeds=0,1,2]

Trains the teachers once, then runs `keras_zskd.distill` from start to end for each dataset, method
and seed with the same recipe, and writes results/lenet5.json and results/lenet5.md after every run.
A run that is in the file is not repeated. The test splits are only used for evaluation, and results
are those of the last epoch.
"""

import json
import pathlib
import shutil
import sys
import time

import keras
from absl import app, flags

import keras_zskd as zskd
from benchmarks import table
from benchmarks.machine import hardware

_DATASETS = flags.DEFINE_list("datasets", ["mnist", "fashion_mnist"], "TFDS names")
_METHODS = flags.DEFINE_list("methods", ["zskd", "class_impressions"], "see `keras-zskd methods`")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "one run each")
_WORK = flags.DEFINE_string("work_dir", "runs/lenet5", "teachers and run directories")
_OUTPUT = flags.DEFINE_string("output", "results/lenet5.json", "the results file")

# As published by Nayak et al., ICML 2019, in percent.
_PAPER = {("mnist", "zskd"): 98.77, ("fashion_mnist", "zskd"): 79.62}


def main(argv: list[str]) -> None:
    """Run what is missing, then write the table."""
    del argv
    output = pathlib.Path(_OUTPUT.value)
    results = json.loads(output.read_text()) if output.exists() else {"teachers": {}, "runs": []}
    results["hardware"] = hardware()
    results["command"] = "python -m benchmarks.lenet_table"
    for seed in _SEEDS.value:
        for dataset in _DATASETS.value:
            teacher = pathlib.Path(_WORK.value) / f"teacher_{dataset}.keras"
            if not teacher.exists():
                results["teachers"][dataset] = zskd.train("lenet5", dataset, teacher)
                _write(output, results)
            for method in _METHODS.value:
                key = {"dataset": dataset, "method": method, "seed": int(seed)}
                if any(key.items() <= run.items() for run in results["runs"]):
                    continue
                results["runs"].append({**key, **_run(teacher, **key)})
                _write(output, results)
    print(output.with_suffix(".md").read_text())


def _run(teacher: pathlib.Path, dataset: str, method: str, seed: int) -> dict[str, object]:
    directory = pathlib.Path(_WORK.value) / f"{dataset}_{method}_{seed}"
    shutil.rmtree(directory, ignore_errors=True)  # A timed run starts from nothing.
    begun = time.perf_counter()
    keras.utils.set_random_seed(seed)  # The student's weights are drawn in this process.
    run = zskd.distill(
        zskd.Teacher(teacher, input_range=(0.0, 1.0)),
        zskd.lenet5_half(),
        method,
        directory,
        seed=seed,
        dataset=dataset,
        verbose=2,
    )
    seconds = time.perf_counter() - begun
    rows = {row["model"]: row for row in run.results["rows"]}
    stages = run.record["stages"]
    return {
        "seconds": round(seconds, 1),
        "synthesis_seconds": stages["impressions"]["seconds"],
        "distillation_seconds": stages["training"]["seconds"],
        "num_impressions": stages["impressions"]["num_impressions"],
        "epochs": stages["training"]["config"]["epochs"],
        "teacher_accuracy": rows["teacher"]["accuracy"],
        "student_accuracy": rows["student"]["accuracy"],
        "student_int8_accuracy": rows["student int8"]["accuracy"],
        "agreement": rows["student"]["agreement"],
        "versions": {name: run.record[name] for name in ("tensorflow", "keras", "python")},
    }


def _write(output: pathlib.Path, results: dict) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "| dataset | method | teacher | student, last epoch (mean ± s.d.) | int8 | agreement "
        "| seeds | minutes a seed | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[dict]] = {}
    for run in results["runs"]:
        groups.setdefault((run["dataset"], run["method"]), []).append(run)
    for (dataset, method), runs in sorted(groups.items()):
        lines.append(
            f"| {dataset} | {method} | {100 * runs[0]['teacher_accuracy']:.2f} "
            f"| {_spread(runs, 'student_accuracy')} | {_spread(runs, 'student_int8_accuracy')} "
            f"| {_spread(runs, 'agreement')} | {', '.join(str(run['seed']) for run in runs)} "
            f"| {max(run['seconds'] for run in runs) / 60:.1f} (slowest) "
            f"| {_PAPER.get((dataset, method), '')} |"
        )
    lines += ["", f"`{results['command']}` on {results['hardware']}.", ""]
    output.with_suffix(".md").write_text("\n".join(lines))


def _spread(runs: list[dict], name: str) -> str:
    return table.spread([100 * run[name] for run in runs])


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
