"""Method `best` without data, in a given time: students of the published pairs, and random starts.

    python -m benchmarks.best_table [--pairs=mnist,fashion_mnist] [--minutes=0,0.5,1,3]
        [--starts=teacher,random] [--seeds=0,1,2]

Pairs: mnist and fashion_mnist, LeNet-5 to LeNet-5-Half (35,820 parameters); cifar10, the AlexNet of
the ZSKD paper to its half (417,434); cifar10_resnet20, ResNet-20 to half its width. Each run is
`keras_zskd.distill` with method `best` in a new process; its time is from the first import to the
report. Writes results/best.json and results/best.md after every run; a run that is in the file is not
repeated. The test splits are only used for evaluation, and results are those of the last epoch.

The settings of the method were chosen on the training splits of Fashion-MNIST and of CIFAR-10, with
other teachers. Nothing else should run on the machine, since the time determines how long a student
is trained.
"""

import itertools
import statistics
import sys
import time
from typing import Any

from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs
from keras_zskd.benchmark.suites import SUITES

_PAIRS = flags.DEFINE_list("pairs", ["mnist", "fashion_mnist"], "teachers and their students")
_MINUTES = flags.DEFINE_list("minutes", ["1", "3"], "of a run")
_STARTS = flags.DEFINE_list("starts", ["teacher", "random"], "see `keras-zskd methods`")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "one run each")
_TEACHERS = flags.DEFINE_string("teachers", "runs/lenet5", "where teachers are")
_COLOR = SUITES["cifar10"].teachers
_TEACHER_OF: dict[str, dict[str, Any]] = {
    "mnist": {"dataset": "mnist"},
    "fashion_mnist": {"dataset": "fashion_mnist"},
    "cifar10": {"dataset": "cifar10", "architecture": "alexnet", **_COLOR["alexnet"]},
    "cifar10_resnet20": {"dataset": "cifar10", "architecture": "resnet20", **_COLOR["resnet20"]},
}
_OUTPUT = flags.DEFINE_string("output", "results/best.json", "the results file")


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.best_table", _lines)
    for seed, minutes, start, pair in itertools.product(
        _SEEDS.value, _MINUTES.value, _STARTS.value, _PAIRS.value
    ):
        key = {
            "pair": pair, "minutes": float(minutes), "start": start, "seed": int(seed),
        }  # fmt: skip
        if results.has(key):
            continue
        teacher = f"{_TEACHERS.value}/teacher_{pair}.keras"
        harness.need_teacher(file=teacher, **_TEACHER_OF[pair])
        begun = time.perf_counter()
        found = harness.run("best_table:distill", 7200, teacher=teacher, **key)
        seconds = round(time.perf_counter() - begun, 1)
        print(f"{key}: {seconds} s, {found['student_accuracy']:.2f} %", flush=True)
        results.add({**key, "seconds": seconds, **found})
    results.show()


def distill(teacher: str, pair: str, minutes: float, start: str, seed: int) -> dict[str, Any]:
    """Do one run in this process, and return its sizes, times and results."""
    import keras_zskd as zskd
    from benchmarks.whole_run import whole_run

    method = zskd.METHODS["best"](minutes=minutes, start=start)
    student = 0.5 if pair.startswith("cifar10") else zskd.lenet5_half
    return whole_run(teacher, method, _TEACHER_OF[pair]["dataset"], seed, student)


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| pair | teacher | start | time limit (minutes) | time taken (s) | student (mean ± s.d.) "
        "| int8 | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["pair"], run["start"], run["minutes"]), []).append(run)
    for (pair, start, minutes), same in sorted(groups.items()):
        seconds = statistics.mean(run["seconds"] for run in same)
        lines.append(
            f"| {pair} | {same[0]['teacher_accuracy']:.2f} | {start} | {minutes:g} | {seconds:.0f} "
            f"| {_of(same, 'student_accuracy')} | {_of(same, 'student_int8_accuracy')} "
            f"| {', '.join(str(run['seed']) for run in same)} |"
        )
    return lines


def _of(runs: Runs, name: str) -> str:
    return table.spread([run[name] for run in runs])


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
