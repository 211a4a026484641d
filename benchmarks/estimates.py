"""The estimate that precedes a run, compared with the time that the run takes.

    python -m benchmarks.estimates [--seconds=60] [--teachers=lenet,rows]

Ten teachers of `zoo_teachers`, each with a different method. The counts of the method are scaled so
that the estimated stages take `--seconds`. Then the estimate is made as by `distill --dry_run`, and
the run by `distill`, each in its own process. Writes results/estimates.json and
results/estimates.md after every teacher. Since times are measured, nothing else should run on the
machine.
"""

import sys
import tempfile
import time
import warnings
from typing import Any

from absl import app, flags

from benchmarks import harness
from benchmarks.results_file import ResultsFile, Runs

# A teacher of the zoo for each method that needs nothing but the teacher.
PAIRS = {
    "lenet": "zskd",
    "tutorial": "class_impressions",
    "residual": "deepinversion",
    "conv1d": "soft_targets",
    "separable": "zskt",
    "inverted_residual": "dfad",
    "classes_100": "dafl",
    "bands_13": "nayer",
    "rows": "transfer_set",
    "classes_1000": "best",
}
# Largest relative error of an estimate that counts as good.
_TOLERANCE = 0.3
_SECONDS = flags.DEFINE_float("seconds", 60.0, "target time of the run of each teacher")
_TEACHERS = flags.DEFINE_list("teachers", [], "of `PAIRS`; all by default")
_OUTPUT = flags.DEFINE_string("output", "results/estimates.json", "the results file")


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.estimates", _lines)
    for teacher, method in PAIRS.items():
        key = {"teacher": teacher, "method": method, "wanted": _SECONDS.value}
        if results.has(key) or (_TEACHERS.value and teacher not in _TEACHERS.value):
            continue
        pair = {"teacher": teacher, "method": method}
        sized = harness.run("estimates:sized", 3600, **pair, seconds=_SECONDS.value)
        found = harness.run("estimates:estimated", 3600, **pair, settings=sized["settings"])
        taken = harness.run("estimates:taken", 7200, **pair, settings=sized["settings"])
        results.add({**key, **sized, **found, **taken})
        print(f"{teacher}: {found['estimate']:.0f} s, taken {taken['stages']:.0f} s", flush=True)
    results.show()


def sized(teacher: str, method: str, seconds: float) -> dict[str, Any]:
    """Return settings with which the stages are estimated to take `seconds`."""
    from keras_zskd import METHODS
    from keras_zskd.jobs.estimating import estimate

    scaled = METHODS[method]().scaled(1.0)
    whole = estimate(_teacher_of(teacher), method=scaled)["seconds"]
    scaled = scaled.scaled(seconds / whole)
    return {"settings": scaled.get_config(), "default": round(whole)}


def estimated(teacher: str, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the estimate for these settings, and the time that it took."""
    from keras_zskd.jobs.estimating import estimate

    model = _teacher_of(teacher)
    begun = time.perf_counter()
    found = estimate(model, method=_method(method, settings))["seconds"]
    return {"estimate": round(found, 1), "estimating": round(time.perf_counter() - begun, 1)}


def taken(teacher: str, method: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of the stages of a run, and of all of it with export and evaluation."""
    from keras_zskd import distill

    model = _teacher_of(teacher)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = distill(model, 0.5, _method(method, settings), directory, verbose=0)
        stages = done.record["stages"]
    seconds = {
        name: round(stage["seconds"], 1)
        for name, stage in stages.items()
        if stage["kind"] in ("synthesis", "training", "data")
    }
    whole = round(time.perf_counter() - begun, 1)
    return {"stages": sum(seconds.values()), "by_stage": seconds, "whole": whole}


def _teacher_of(name: str) -> Any:
    import keras

    from benchmarks.zoo_teachers import TEACHERS
    from keras_zskd import Teacher

    keras.utils.set_random_seed(0)
    return Teacher(TEACHERS[name].build(), **TEACHERS[name].settings)


def _method(name: str, settings: dict[str, Any]) -> Any:
    from keras_zskd import METHODS

    return METHODS[name].preset("default", **settings)


def _lines(runs: Runs) -> list[str]:
    ratios = [run["estimate"] / run["stages"] for run in runs]
    # Relative to the time that the run took.
    within = sum(abs(ratio - 1.0) <= _TOLERANCE for ratio in ratios)
    lines = [
        f"Estimates of the stages of a run and the time that they took, in seconds: {within} of "
        f"{len(runs)} within {100 * _TOLERANCE:.0f} %. The counts of each method are scaled from its "
        "defaults, whose estimate is in the last column. The whole run includes export, evaluation "
        "and report, which the estimate leaves out.",
        "",
        "| teacher | method | estimate | stages | ratio | whole run | to estimate | at the defaults |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run, ratio in zip(runs, ratios, strict=True):
        lines.append(
            f"| {run['teacher']} | {run['method']} | {run['estimate']:.0f} | {run['stages']:.0f} "
            f"| {ratio:.2f} | {run['whole']:.0f} | {run['estimating']:.0f} | {run['default']:,} |"
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
