"""The student of a run, with random weights or with the teacher's."""

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd.runs.run import Run


def _assert_equal(student, expected):
    for value, other in zip(student.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)


def test_a_width_and_a_model_start_from_the_teacher(tiny_teacher, tmp_path):
    teacher = zskd.Teacher(tiny_teacher, (0, 1))
    own = zskd.slim(tiny_teacher, 0.5)
    before = keras.models.clone_model(own)
    before.set_weights(own.get_weights())
    folded = zskd.slim(tiny_teacher, 0.5, weights="teacher")
    for name, student in (("width", 0.5), ("model", own)):
        run = Run(teacher, student, {}, tmp_path / name, verbose=0)
        _assert_equal(run.new_student(weights="teacher"), folded)
        assert not np.array_equal(run.new_student().get_weights()[0], folded.get_weights()[0])
        with pytest.raises(zskd.InputError, match='"random" or "teacher"'):
            run.new_student(weights="cut")
    _assert_equal(own, before)


def test_a_student_of_other_layers_cannot_start_from_the_teacher(tiny_teacher, tmp_path):
    shape = tiny_teacher.input_shape[1:]
    student = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(tiny_teacher.output_shape[-1]),
        ]
    )
    run = Run(zskd.Teacher(tiny_teacher, (0, 1)), student, {}, tmp_path, verbose=0)
    with pytest.raises(zskd.InputError, match="the teacher's layers in the same order"):
        run.new_student(weights="teacher")
