"""`quantize`: the forms of a teacher, and their table."""

import os

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd import cli
from keras_zskd.core.errors import InputError

pytestmark = pytest.mark.usefixtures("without_xla")

layers = keras.layers


def test_all_forms_of_a_teacher_on_the_command_line(saved_teacher, tmp_path, make_images, capsys):
    images = make_images(40)
    labels = np.asarray(zskd.Teacher(saved_teacher, (0, 1))(images)).argmax(axis=1)
    np.savez(tmp_path / "real.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    code = cli.main(
        [
            "keras-zskd",
            "quantize",
            f"--teacher={saved_teacher}",
            "--input_range=0,1",
            f"--output_dir={tmp_path / 'out'}",
            "--num_impressions=20",
            f"--dataset={tmp_path / 'real.npz'}",
            f"--training_dataset={tmp_path / 'real.npz'}",
            f"--json={tmp_path / 'rows.json'}",
        ]
    )
    printed = capsys.readouterr()
    assert code == 0, printed.err
    names = [
        "float32",
        "float16 weights",
        "int8 weights (dynamic range)",
        "int8 weights, int16 activations",
        "int8",
        "int8, calibrated on noise",
        "int8, calibrated on real images",
    ]
    lines = printed.out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Measured: accuracy on"))
    assert "agreement on 10 held-out impressions" in lines[start]
    for name, line in zip(names, lines[start + 2 :], strict=False):
        assert line.startswith(f"{name}  ")
    assert lines[start + 2].split()[1:3] == ["100.00%", "100.00%"]
    assert lines[start + 8].endswith("not kept")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "impressions",
        "teacher.tflite",
        "teacher_dynamic.tflite",
        "teacher_float16.tflite",
        "teacher_int16x8.tflite",
        "teacher_int8.tflite",
    ]


def test_a_form_that_is_impossible_is_a_row_with_a_reason(tmp_path):
    pixels = keras.Input((8, 8, 1))
    x = layers.LayerNormalization(name="norm")(layers.Flatten()(pixels))
    teacher = zskd.Teacher(keras.Model(pixels, layers.Dense(3)(x)), (0, 1))
    done = zskd.quantize(teacher, tmp_path, num_impressions=4, verbose=0)
    rows = {row["model"]: row for row in done.rows}
    assert "full-integer form" in rows["int8"]["error"]
    assert rows["float16 weights"]["agreement"] == 1.0
    assert rows["float16 weights"]["accuracy"] is None
    assert not (tmp_path / "teacher_int8.tflite").exists()


def test_too_few_impressions_are_refused_before_any_work(tiny_teacher, tmp_path):
    with pytest.raises(InputError, match="`num_impressions` must be 2 or more"):
        zskd.quantize(tiny_teacher, tmp_path / "out", num_impressions=1)
    assert not (tmp_path / "out").exists()
