"""What `inspect`, `distill` and `export` do with teachers of many kinds.

    python -m benchmarks.zoo [--kinds=tables,recurrent] [--names=lenet,lstm] [--again]

Each teacher of `zoo_teachers` has random weights, is saved as a user would save it, and is examined in
its own process: it is inspected and distilled with the default method at a tiny size, and the
student is exported to every format. Teachers that cannot be supported must be refused in one
sentence before any work. It is a failure if anything but an `InputError` is raised, if `distill`
fails after the training has begun, or if an export fails that `inspect` reported as possible.
Writes results/zoo.json and results/zoo.md after every teacher, and resumes where it was
interrupted.
"""

import os
import pathlib
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from absl import app, flags

from benchmarks import harness
from benchmarks.results_file import ResultsFile, Runs

_KINDS = flags.DEFINE_list("kinds", [], "headings of `zoo_teachers`; all by default")
_NAMES = flags.DEFINE_list("names", [], "teachers; all by default")
_AGAIN = flags.DEFINE_bool("again", False, "examine those again that failed")
_OUTPUT = flags.DEFINE_string("results", "results/zoo.json", "the results file")

FORMATS = {
    "saved_model": "model", "litert": "model.tflite", "litert_int8": "model_int8.tflite",
    "litert_float16": "model_float16.tflite", "litert_dynamic": "model_dynamic.tflite",
    "litert_int16x8": "model_int16x8.tflite", "litert_mixed": "model_mixed.tflite",
    "onnx": "model.onnx",
}  # fmt: skip
# Formats that `inspect` does not try, and those whose result applies to them.
_LIKE = {"litert_float16": "litert", "litert_dynamic": "litert"}
_SIZE = {"num_impressions": 16, "steps": 8, "synthesis_steps": 2, "batch_size": 8}
_NUM_IMAGES = 16
_TIMEOUT = 1800.0


def main(argv: list[str]) -> None:
    """Examine the teachers that are not in the results file, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.zoo", _lines)
    for name, kind in harness.run("zoo:names")["names"]:
        if (_KINDS.value and kind not in _KINDS.value) or (
            _NAMES.value and name not in _NAMES.value
        ):
            continue
        earlier = next((run for run in results.runs if run["name"] == name), None)
        if earlier is not None:
            if not (_AGAIN.value and earlier["failure"]):
                continue
            results.runs.remove(earlier)
        begun = time.perf_counter()
        try:
            found = harness.run("zoo:examine_in_scratch", _TIMEOUT, name=name)
        except harness.SideError as error:  # The process was killed, for example by a signal.
            seconds = round(time.perf_counter() - begun, 1)
            found = {"failure": f"process: {error}", "seconds": {"process": seconds}}
        results.add({"name": name, "kind": kind, **found})
        print(f"{name} ({kind}): {found['failure'] or found.get('refusal') or 'works'}", flush=True)
    results.show()


def names() -> dict[str, Any]:
    """Return the name and kind of every teacher."""
    from benchmarks.zoo_teachers import TEACHERS

    return {"names": [(entry.name, entry.kind) for entry in TEACHERS.values()]}


def examine_in_scratch(name: str) -> dict[str, Any]:
    """Call `examine` in a temporary directory."""
    # Most of the time is compilation, since the compiled code only runs for a few steps.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return examine(name, directory)


def examine(name: str, directory: str, settings: dict[str, int] | None = None) -> dict[str, Any]:
    """Examine one teacher in this process.

    Args:
        name: A name in `zoo_teachers.TEACHERS`.
        directory: An empty directory.
        settings: Settings of method `best`. Defaults to a tiny training. With `{"minutes": 0}`, the
            teacher is not inspected, the student is not trained, and only the formats of `distill`
            are written.

    Returns:
        "failure", one line, empty if there was none; "refusal", the sentence for a refused teacher;
        "student", "width" or "given"; for each format "yes" or "no: " and the reason; "seconds" of
        each stage.
    """
    import keras

    from benchmarks.zoo_teachers import TEACHERS
    from keras_zskd import InputError, Teacher

    entry = TEACHERS[name]
    found: dict[str, Any] = {"failure": "", "formats": {}, "seconds": {}}
    keras.utils.set_random_seed(0)
    path = pathlib.Path(directory)
    source = entry.save(entry.build(), path)
    try:
        teacher = _timed(found, "teacher", lambda: Teacher(source, **entry.settings))
    except InputError as error:
        found["refusal"] = str(error)
        if not entry.refused:
            found["failure"] = f"refused: {error}"
        return found
    except Exception as error:
        found["failure"] = _failure("teacher", error)
        return found
    if entry.refused:
        found["failure"] = "was not refused"
        return found
    _use(entry, teacher, path, {**_SIZE, "minutes": None} if settings is None else settings, found)
    return found


def _use(
    entry: Any, teacher: Any, path: pathlib.Path, settings: Any, found: dict[str, Any]
) -> None:
    """Inspect, distill and export; write the results into `found`."""
    import numpy as np

    import keras_zskd as zskd
    from keras_zskd import InputError
    from keras_zskd.jobs.inspecting import inspect

    stage = "inspect"
    try:
        is_short = settings.get("minutes") == 0
        said = {} if is_short else _timed(found, stage, lambda: inspect(teacher))
        stage = "distill"
        student, found["student"] = _student_of(entry, teacher)
        method = zskd.METHODS["best"].preset("default", **settings)
        done = _timed(
            found, stage, lambda: zskd.distill(teacher, student, method, path / "run", verbose=0)
        )
        for file in done.record["files"].values():
            found["formats"][file["file"]] = f"no: {file['error']}" if "error" in file else "yes"
        if is_short:
            return
        stage = "export"
        noise = np.random.default_rng(0).uniform(
            *teacher.input_range, (_NUM_IMAGES, *teacher.input_shape)
        )
        found["formats"] = {}
        begun = time.perf_counter()
        for format, file in FORMATS.items():
            stage = f"export to {format}"
            try:
                zskd.export(done.student, path / file, format, noise, num_checks=_NUM_IMAGES)
                found["formats"][format] = "yes"
            except InputError as error:
                found["formats"][format] = f"no: {error}"
                # A student that was given has layers that differ from the teacher's.
                is_expected = said[f"format {_LIKE.get(format, format)}"] != "yes"
                if found["student"] == "width" and not is_expected:
                    found["failure"] = f"{stage}, which `inspect` called possible: {error}"[:400]
        found["seconds"]["export"] = round(time.perf_counter() - begun, 1)
    except InputError as error:
        found["failure"] = f"{stage}: {error}"[:400]
    except Exception as error:
        found["failure"] = _failure(stage, error)


def _student_of(entry: Any, teacher: Any) -> tuple[Any, str]:
    """Return half the width, or a model where `slim` refuses, as a user would pass one then."""
    import keras_zskd as zskd
    from benchmarks.zoo_teachers.entry import small_student

    if entry.student is not None:
        return entry.student(), "given"
    try:
        zskd.slim(teacher.prototype, 0.5)
    except zskd.InputError:
        return small_student(teacher.input_shape, teacher.num_classes), "given"
    return 0.5, "width"


def _timed(found: dict[str, Any], stage: str, call: Callable[[], Any]) -> Any:
    begun = time.perf_counter()
    try:
        return call()
    finally:
        found["seconds"][stage] = round(time.perf_counter() - begun, 1)


def _failure(stage: str, error: Exception) -> str:
    """Describe an error in one line: stage, type, message, and the location in the package."""
    mine = [at for at in traceback.extract_tb(error.__traceback__) if "keras_zskd" in at.filename]
    place = f"{pathlib.Path(mine[-1].filename).name}:{mine[-1].lineno}" if mine else "elsewhere"
    message = " ".join(str(error).split())[:300]
    return f"{stage}: {type(error).__name__} in {place}: {message}"


def _lines(runs: Runs) -> list[str]:
    kinds = dict.fromkeys(run["kind"] for run in runs)
    failed = [run for run in runs if run["failure"]]
    refused = [run for run in runs if not run["failure"] and run.get("refusal")]
    lines = [
        f"{len(runs)} teachers of {len(kinds)} kinds: {len(runs) - len(failed) - len(refused)} work, "
        f"{len(refused)} are refused in one sentence as they must be, {len(failed)} failed. Formats: "
        "number of students that have them. A student is given where no narrower copy can be made. "
        "Seconds are means.",
        "",
        f"| kind | teachers | work | refused | failed | student given | {' | '.join(FORMATS)} "
        "| inspect, s | distill, s | exports, s |",
        "| --- |" + " ---: |" * (8 + len(FORMATS)),
    ]
    for kind in kinds:
        lines.append(_line(kind, [run for run in runs if run["kind"] == kind]))
    if failed:
        lines += ["", "Failed:", "", *(f"* {run['name']}: {run['failure']}" for run in failed)]
    return lines


def _line(kind: str, runs: Runs) -> str:
    failed = sum(bool(run["failure"]) for run in runs)
    refused = sum(bool(run.get("refusal")) and not run["failure"] for run in runs)
    given = sum(run.get("student") == "given" for run in runs)
    formats = [sum(run.get("formats", {}).get(name) == "yes" for run in runs) for name in FORMATS]
    cells: list[Any] = [len(runs), len(runs) - failed - refused, refused, failed, given, *formats]
    for stage in ("inspect", "distill", "export"):
        taken = [run["seconds"][stage] for run in runs if stage in run["seconds"]]
        cells.append(f"{sum(taken) / len(taken):.0f}" if taken else "")
    return f"| {kind} | {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
