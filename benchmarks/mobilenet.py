"""MobileNetV2 of `keras.applications` on CIFAR-10: distilled to half its width, and quantized.

    python -m benchmarks.mobilenet [--epochs=10] [--minutes=15]

Runs the commands that a user would type: `train` a teacher on 32x32 images (pixels of a JPEG copy),
`distill` it with the default method and with `hinton` on real data, and `quantize` it. A command is
repeated only if its results are not in `runs/mobilenet/`. Test images are only used for evaluation.
Writes results/mobilenet.json and results/mobilenet.md. With the default method, the time is
limited, so nothing else should run on the machine.
"""

import json
import pathlib
import subprocess
import sys
import time
from typing import Any

from absl import app, flags

from benchmarks.results_file import ResultsFile, Runs

_EPOCHS = flags.DEFINE_integer("epochs", 10, "of the teacher")
_STUDENT_EPOCHS = flags.DEFINE_integer("student_epochs", 8, "of the student on real data")
_MINUTES = flags.DEFINE_integer("minutes", 15, "of the default method")
_OUTPUT = flags.DEFINE_string("output", "results/mobilenet.json", "the results file")
_WORK = pathlib.Path("runs/mobilenet")
_CALL = "import keras_zskd_command; keras_zskd_command.launch()"


def main(argv: list[str]) -> None:
    """Run the commands that are missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.mobilenet", _lines)
    for what, arguments in _commands().items():
        if not results.has({"what": what}):
            results.add({"what": what, "arguments": arguments, **_run(what, arguments)})
    results.show()


def _commands() -> dict[str, list[str]]:
    teacher = _WORK / "teacher.keras"
    given = [f"--teacher={teacher}", "--input_range=0,1", "--dataset=cifar10"]
    half = ["distill", *given, "--student=0.5"]
    real = "--training_dataset=cifar10"
    return {
        "teacher": [
            "train", "--architecture=mobilenet_v2", "--dataset=cifar10", "--horizontal_flip",
            f"--epochs={_EPOCHS.value}", f"--output={teacher}",
        ],
        "hinton": [
            *half, "--method=hinton", real, f"--epochs={_STUDENT_EPOCHS.value}",
            f"--output_dir={_WORK / 'hinton'}",
        ],
        "best": [*half, f"--minutes={_MINUTES.value}", f"--output_dir={_WORK / 'best'}"],
        "quantize": ["quantize", *given, real, f"--output_dir={_WORK / 'quantized'}"],
    }  # fmt: skip


def _run(what: str, arguments: list[str]) -> dict[str, Any]:
    """Run one command, and return what it wrote to `--json`."""
    path = _WORK / f"{what}.json"
    begun = time.perf_counter()
    if not path.exists():
        subprocess.run([sys.executable, "-c", _CALL, *arguments, f"--json={path}"], check=True)
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = found.get("rows") or found.get("results", {}).get("rows")
    rows = rows or [{"model": "teacher", "accuracy": found["test_accuracy"], **found}]
    return {"rows": rows, "seconds": round(time.perf_counter() - begun, 1)}


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| command | model | accuracy, % | parameters | KB |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for run in runs:
        for row in run["rows"]:
            accuracy = f"{100 * row['accuracy']:.2f}" if row.get("accuracy") is not None else ""
            parameters = f"{row['parameters']:,}" if row.get("parameters") else ""
            size = f"{row['bytes'] / 1e3:,.0f}" if row.get("bytes") else ""
            lines.append(f"| {run['what']} | {row['model']} | {accuracy} | {parameters} | {size} |")
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
