"""Budgets of size, parameters and time."""

import keras
import numpy as np
import pytest

from keras_zskd import Teacher
from keras_zskd.core.errors import InputError
from keras_zskd.deploy import budget
from keras_zskd.deploy.budget import Budget, widest_within
from keras_zskd.deploy.formats import export
from keras_zskd.models import slim


@pytest.fixture(scope="module")
def teacher():
    return Teacher(
        keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(200, activation="relu"),
                keras.layers.Dense(4),
            ]
        ),
        (0.0, 1.0),
    )


@pytest.mark.parametrize(
    ("text", "quantity", "limit"),
    [
        ("200KB", "bytes", 200_000),
        ("1.5 MB", "bytes", 1_500_000),
        ("900b", "bytes", 900),
        ("50kparams", "parameters", 50_000),
        ("700params", "parameters", 700),
        (".5ms", "ms_per_image", 0.5),
    ],
)
def test_budgets_are_read(text, quantity, limit):
    found = Budget.parse(text)
    assert (found.quantity, found.limit) == (quantity, limit)


@pytest.mark.parametrize("text", ["0.5", "student.keras", "KB", "5 kg", "-1ms", "1ms.keras"])
def test_other_texts_are_no_budgets(text):
    assert Budget.parse(text) is None


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(InputError, match="positive budget"):
        Budget.parse("0KB")


def test_the_widest_copy_has_the_parameters_asked_for(teacher):
    found = widest_within(Budget.parse("500params"), teacher)
    # A copy with u units has 7 u + 4 u + 4 parameters: 45 units are 499, 46 are 510.
    assert found.needs == {"parameters": 499}
    assert slim(teacher.prototype, found.width).count_params() == 499


def test_a_budget_above_the_teacher_gives_full_width(teacher):
    assert widest_within(Budget.parse("1Mparams"), teacher).width == 1.0


def test_the_file_of_the_student_has_the_size_that_was_measured(teacher, tmp_path):
    found = widest_within(Budget.parse("1MB"), teacher)
    student = slim(teacher.prototype, 1.0)
    rng = np.random.default_rng(1)  # As after a training, which changes the biases too.
    student.set_weights([rng.normal(0.0, 0.1, x.shape) for x in student.get_weights()])
    written = export(student, tmp_path / "student.tflite", num_checks=1).bytes
    assert found.needs["bytes"] == written
    assert found.needs["ms_per_image"] > 0.0


def test_time_is_that_of_the_file(teacher, monkeypatch):
    # A file of p parameters takes p microseconds.
    times = []

    def measured(student, teacher):
        times.append(student.count_params() / 1e3)
        return {"ms_per_image": times[-1]}

    monkeypatch.setattr(budget, "_measured", measured)
    found = widest_within(Budget.parse("1ms"), teacher)
    assert 0.9 <= found.needs["ms_per_image"] <= 1.0
    assert len(times) <= 6


def test_what_even_the_narrowest_needs_is_said(teacher):
    with pytest.raises(InputError, match=r"student='10params'.* needs 15 parameters"):
        widest_within(Budget.parse("10params"), teacher)
