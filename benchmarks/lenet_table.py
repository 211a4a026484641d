"""LeNet-5 to LeNet-5-Half without data on MNIST and Fashion-MNIST: the pair of the ZSKD paper.

    python -m benchmarks.lenet_table [--datasets=mnist,fashion_mnist] [--methods=...] [--seeds=0,1,2]

Each run is `keras_zskd.distill` with the default settings of the method, from start to end in a new
process, with the teachers of the benchmark. Writes results/lenet5.json and results/lenet5.md after
every run; a run that is in the file is not repeated. The test splits are only used for evaluation,
and results are those of the last epoch.
"""

import itertools
import sys
import time
from typing import Any

from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs
from keras_zskd.benchmark.suites import SUITES

_DATASETS = flags.DEFINE_list("datasets", ["mnist", "fashion_mnist"], "TFDS names")
_METHODS = flags.DEFINE_list("methods", ["zskd", "class_impressions"], "see `keras-zskd methods`")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "one run each")
_TEACHERS = flags.DEFINE_string("teachers", "results/benchmark", "where teachers are")
_OUTPUT = flags.DEFINE_string("output", "results/lenet5.json", "the results file")

# As published by Nayak et al., ICML 2019, in percent.
_PAPER = {("mnist", "zskd"): 98.77, ("fashion_mnist", "zskd"): 79.62}


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.lenet_table", _lines)
    for seed, dataset, method in itertools.product(_SEEDS.value, _DATASETS.value, _METHODS.value):
        key = {"dataset": dataset, "method": method, "seed": int(seed)}
        if results.has(key):
            continue
        teacher = f"{_TEACHERS.value}/{dataset}-lenet5.keras"
        settings = SUITES[dataset].teachers["lenet5"]
        harness.need_teacher(file=teacher, dataset=dataset, **settings)
        begun = time.perf_counter()
        found = harness.run("lenet_table:distill", 7200, teacher=teacher, **key)
        results.add({**key, "seconds": round(time.perf_counter() - begun, 1), **found})
    results.show()


def distill(teacher: str, dataset: str, method: str, seed: int) -> dict[str, Any]:
    """Do one run in this process, and return its sizes, times and results."""
    from benchmarks.whole_run import whole_run

    return whole_run(teacher, method, dataset, seed)


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| dataset | method | teacher | student, last epoch (mean ± s.d.) | int8 | agreement "
        "| seeds | minutes a seed | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], Runs] = {}
    for run in runs:
        groups.setdefault((run["dataset"], run["method"]), []).append(run)
    for (dataset, method), same in sorted(groups.items()):
        lines.append(
            f"| {dataset} | {method} | {same[0]['teacher_accuracy']:.2f} "
            f"| {_spread(same, 'student_accuracy')} | {_spread(same, 'student_int8_accuracy')} "
            f"| {_spread(same, 'agreement')} | {', '.join(str(run['seed']) for run in same)} "
            f"| {max(run['seconds'] for run in same) / 60:.1f} (slowest) "
            f"| {_PAPER.get((dataset, method), '')} |"
        )
    return lines


def _spread(runs: Runs, name: str) -> str:
    return table.spread([run[name] for run in runs])


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
