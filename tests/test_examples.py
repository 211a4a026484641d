"""Each example runs as its first lines say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SMALL = {
    "distill_with_fit": ("--impressions=100", "--epochs=1"),
    "export_int8": (),
    "own_method": ("--epochs=1",),
    "several_devices": ("--impressions=40", "--epochs=1"),
    "own_pictures": ("--minutes=0",),
    "three_clients": ("--epochs=1", "--impressions=0", "--steps=0"),
}
FILES = {
    "distill_with_fit": ("student.keras", "logs", "impressions/dataset_info.json"),
    "export_int8": ("student/saved_model.pb", "student.tflite", "student_int8.tflite"),
    "own_method": ("student_int8.tflite", "report.html"),
    "several_devices": ("student_int8.tflite", "report.html"),
    "own_pictures": ("student_int8.tflite", "report.html"),
    "three_clients": ("student_int8.tflite", "report.html"),
}


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SMALL) == set(FILES)


# Runs programs in one process, which imports TensorFlow once: a path and its arguments per line.
# Without XLA, as in `without_xla`, without graph optimization, and without the estimate before each
# run.
RUN_ALL = """
import json, runpy, sys, traceback
import tensorflow as tf
from keras_zskd.distillation import distiller
from keras_zskd.impressions import generator
from keras_zskd.jobs import distilling
distiller.compiles_well = generator.compiles_well = lambda *_, **__: False
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
distilling.estimate = lambda *arguments: {"seconds": 0.0}
for line in sys.stdin:
    sys.argv = json.loads(line)
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except BaseException:
        print("failed:", sys.argv[0], file=sys.stderr)
        traceback.print_exc()
"""
# Sets the devices, which TensorFlow allows only before it computes.
FIRST = "several_devices"


@pytest.fixture(scope="module")
def errors_of_examples(tmp_path_factory):
    """Standard error after every example has run, and the directory of their outputs."""
    output = tmp_path_factory.mktemp("examples")
    teacher = output / "teacher.keras"
    layers = keras.layers
    keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(6, "relu"), layers.Dense(4)]
    ).save(teacher)
    more = {
        "own_pictures": [f"--teacher={teacher}", f"--folder={pictures_for(teacher, output)}"],
    }
    lines = [
        [
            str(EXAMPLES / f"{name}.py"),
            f"--output={output / name}",
            *SMALL[name],
            *more.get(name, ()),
        ]
        for name in sorted(SMALL, key=lambda name: name != FIRST)
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input="\n".join(map(json.dumps, lines)),
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        timeout=900,
    )
    return done.stderr, output


@pytest.mark.parametrize("name", SMALL)
def test_the_example_leaves_its_files(name, errors_of_examples):
    errors, output = errors_of_examples
    assert f"{name}.py" not in errors, errors[-3000:]
    for file in FILES[name]:
        assert (output / name / file).exists(), errors[-3000:]


def test_the_notebook_runs_and_is_executed(tmp_path):
    """Its code is run with small numbers; the stored results are those of the numbers it shows."""
    notebook = json.loads((EXAMPLES / "quick_start.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [
        kind for cell in cells for output in cell["outputs"] for kind in output.get("data", ())
    ]
    assert kinds.count("image/png") == 4
    code = "\n".join("".join(cell["source"]) for cell in cells)
    for setting, small in (("NUM_IMPRESSIONS = 2_000", "40"), ("EPOCHS = 12", "1")):
        assert code.count(setting) == 1
        code = code.replace(setting, f"{setting.split()[0]} = {small}")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "agg"},
        capture_output=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"int8 student  accuracy" in done.stdout


def pictures_for(teacher, directory):
    """A folder with one picture for each class of a teacher."""
    model = keras.models.load_model(teacher)
    height, width, channels = model.input_shape[1:]
    for number in range(model.output_shape[-1]):
        folder = directory / "pictures" / f"class_{number}"
        folder.mkdir(parents=True)
        image = np.full((height, width, channels), 20 * number, np.uint8)
        keras.utils.save_img(folder / "0.png", image, scale=False)
    return directory / "pictures"
