"""The model card of a run: `README.md` next to the student, in the format of model hubs."""

import json
import os
from collections.abc import Mapping
from typing import Any

from keras_zskd.evaluation.report.run_summary import (
    accuracy_is_known,
    bytes_text,
    duration_text,
    measurement_text,
    percent_text,
    stages,
    uses_data,
)

_FILES = {
    "student.keras": "the student, for Keras",
    "student": "SavedModel",
    "student.tflite": "LiteRT, float32",
    "student_int8.tflite": "LiteRT, full-integer int8",
    "student.onnx": "ONNX",
    "impressions": "the transfer set, a TensorFlow Datasets directory; see *Privacy* below",
    "report.html": "report with images, curves and tables; shows impressions",
    "run.json": "configuration, versions, seed, times and results",
    "logs": "logs for TensorBoard: `tensorboard --logdir logs`; show impressions",
}
_KERAS = """
```python
import keras

student = keras.saving.load_model("student.keras")
scores = student.predict(images)
```
"""
_SAVED_MODEL = """
```python
import tensorflow as tf

student = tf.saved_model.load("student")  # keep a reference: serve() reads its weights
scores = student.serve(images)
```
"""
_LITERT = """
LiteRT files take one image at a time:

```python
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(model_path="{name}")
interpreter.allocate_tensors()
(source,), (sink,) = interpreter.get_input_details(), interpreter.get_output_details()
x = images[:1]
scale, zero_point = source["quantization"]
if scale:  # int8
    x = np.clip(np.round(x / scale + zero_point), -128, 127)
interpreter.set_tensor(source["index"], x.astype(source["dtype"]))
interpreter.invoke()
scores = interpreter.get_tensor(sink["index"])
scale, zero_point = sink["quantization"]
if scale:
    scores = (scores.astype("float32") - zero_point) * scale
```
"""


def write_model_card(path: str | os.PathLike[str], run: Mapping[str, Any]) -> None:
    r"""Write a model card: Markdown with YAML front matter.

    Only files that exist next to the card are listed and explained, so write the card last.

    Args:
        path: Path of the card, `README.md` of the run directory; an existing card is replaced.
        run: Content of `run.json`; see `write_report` for the schema.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = pathlib.Path(directory) / "README.md"
        ...     write_model_card(path, {"method": "zskd"})
        ...     text = path.read_text(encoding="utf-8")
        >>> text.startswith("---\nlibrary_name: keras")
        True
    """
    directory = os.path.dirname(os.path.abspath(os.fspath(path)))
    files = [name for name in _FILES if os.path.exists(os.path.join(directory, name))]
    sections = [_front_matter(run), _what(run), _training(run), _results(run)]
    sections += [_use(run, files), _limits(run)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n\n".join(section.strip("\n") for section in sections) + "\n")


def _front_matter(run: Mapping[str, Any]) -> str:
    tags = ["keras", "knowledge-distillation"]
    if not uses_data(run):
        tags += ["zero-shot-knowledge-distillation", "data-free", "synthetic-data"]
    rows = run.get("results", {}).get("rows", [])
    metrics = [name for name in ("accuracy", "agreement") if _is_measured(rows, name)]
    lines = ["---", "library_name: keras"]
    if len(_teacher(run).get("input_shape", ())) == 3:
        lines.append("pipeline_tag: image-classification")
    lines += ["tags:", *(f"- {tag}" for tag in tags)]
    lines += ["metrics:", *(f"- {name}" for name in metrics)] if metrics else []
    if run.get("class_names"):
        # Every JSON string is a valid YAML string.
        lines += ["class_names:", *(f"- {json.dumps(str(name))}" for name in run["class_names"])]
    return "\n".join([*lines, "---"])


def _teacher(run: Mapping[str, Any]) -> Mapping[str, Any]:
    teacher: Mapping[str, Any] = run.get("request", {}).get("teacher", {})
    return teacher


def _is_measured(rows: Any, name: str) -> bool:
    return any(row.get(name) is not None for row in rows)


def _what(run: Mapping[str, Any]) -> str:
    teacher, student = _teacher(run), run.get("request", {}).get("student", {})
    text = f"# A student of {_cell(teacher.get('name', 'a teacher'))}\n\n"
    text += "A Keras classifier distilled from a larger one, its teacher"
    sizes = student.get("parameters"), teacher.get("parameters")
    if all(sizes):
        text += f": {sizes[0]:,} parameters instead of {sizes[1]:,}"
    text += "."
    if teacher.get("input_shape"):
        shape = " x ".join(str(size) for size in teacher["input_shape"])
        text += f" Input: {shape} float32"
        if teacher.get("input_range"):
            low, high = teacher["input_range"]
            text += f", values from {low:g} to {high:g}"
        text += f". Output: one score for each of {teacher.get('num_classes', 'its')} classes"
        text += f", as {teacher['ends_in']} in the teacher." if teacher.get("ends_in") else "."
    return text


def _training(run: Mapping[str, Any]) -> str:
    head = "## Training data\n\n"
    request = run.get("request", {})
    method = f"`{_cell(request.get('method', {}).get('name', 'unknown'))}`"
    tool = f"keras_zskd {run['keras_zskd']}" if run.get("keras_zskd") else "keras_zskd"
    lines = [run.get("origin", {}).get("text", "The source of the training images is unknown.")]
    lines.append(
        f"Method: {method} of {tool}, seed {request.get('seed', 'unknown')}. The student learned "
        "the teacher's predictions on these images."
    )
    for kind, what in (("synthesis", "Synthesis"), ("training", "Training")):
        seconds = [stage["seconds"] for stage in stages(run, kind).values() if "seconds" in stage]
        if seconds:
            lines.append(f"{what} took {duration_text(sum(seconds))}.")
    return head + " ".join(lines) + " The full configuration is in `run.json`."


def _results(run: Mapping[str, Any]) -> str:
    results = run.get("results", {})
    rows = results.get("rows", [])
    head = "## Evaluation\n\n"
    if not rows:
        return f"{head}No results were measured."
    lines = [
        "| model | accuracy | agreement with the teacher | parameters | size | ms per image |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        count, speed = row.get("parameters"), row.get("ms_per_image")
        cells = (
            _cell(row["model"]),
            percent_text(row.get("accuracy")),
            percent_text(row.get("agreement")),
            "-" if count is None else f"{count:,}",
            bytes_text(row.get("bytes")),
            "-" if speed is None else f"{speed:.3g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return head + "\n".join(lines) + "\n\n" + measurement_text(run)


def _use(run: Mapping[str, Any], files: list[str]) -> str:
    text = "## How to use the files\n\n"
    if files:
        text += "| file | content |\n| --- | --- |\n"
        text += "\n".join(f"| `{name}` | {_FILES[name]} |" for name in files) + "\n\n"
    shape = _teacher(run).get("input_shape")
    low, high = _teacher(run).get("input_range") or (0, 1)
    size = f"(N, {', '.join(str(side) for side in shape)})" if shape else "(N, ...)"
    text += f"`images` is a float32 array {size} with values from {low:g} to {high:g}.\n"
    text += _KERAS if "student.keras" in files else ""
    text += _SAVED_MODEL if "student" in files else ""
    for name in ("student_int8.tflite", "student.tflite"):
        if name in files:
            return text + _LITERT.format(name=name)
    return text


def _limits(run: Mapping[str, Any]) -> str:
    lines = [
        "- The student reproduces its teacher, including errors and biases. Anything unknown about "
        "the teacher's training data is also unknown for the student."
    ]
    if not uses_data(run):
        lines.append(
            "- It was trained on synthetic images. Its accuracy on real images must be measured on "
            "your own data; agreement on impressions is not a substitute."
        )
    if not accuracy_is_known(run):
        lines.append("- Its accuracy was not measured.")
    lines.append(
        "- Its scores may not be calibrated: training at a high temperature tends to make a "
        "student underconfident."
    )
    text = "## Limitations\n\n" + "\n".join(lines) + "\n\n## Privacy\n\n"
    if uses_data(run):
        return text + (
            "The student was trained on real data and may have memorized some of it. Treat it like "
            "the teacher."
        )
    inputs = run.get("origin", {}).get("inputs", "impressions")
    return text + (
        f"**{inputs.capitalize()} may leak training information.** They are made from the "
        f"teacher's weights, and the weights were trained on data. Treat {inputs}, the images in "
        "the report and the TensorBoard logs like the teacher itself. That no data was read does "
        "not imply anonymity: a student can reproduce what its teacher memorized."
    )


def _cell(value: Any) -> str:
    """Escape text so that it stays inside its table cell and line."""
    return " ".join(str(value).split()).replace("|", "\\|")
