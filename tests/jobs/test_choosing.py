"""Students by width, budget, name, model and path."""

import json

import numpy as np
import pytest

from keras_zskd import Teacher
from keras_zskd.core.errors import InputError
from keras_zskd.jobs import choosing
from keras_zskd.jobs.choosing import choose

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.fixture
def teacher(tiny_teacher):
    return Teacher(tiny_teacher, (0.0, 1.0))


def test_widths_and_models_have_no_facts(teacher, tiny_teacher):
    assert choose(0.25, teacher) == choosing.Chosen(0.25)
    chosen = choose(tiny_teacher, teacher)
    assert chosen.facts == {}
    assert chosen.student.count_params() == tiny_teacher.count_params()


def test_a_budget_is_searched_once_per_run(teacher, tmp_path, monkeypatch):
    first = choose("500params", teacher)
    assert first.student == first.facts["width"] < 1.0
    assert "within 500params: width" in first.text
    (tmp_path / "run.json").write_text(json.dumps({"chosen": first.facts}), encoding="utf-8")
    searched = []
    monkeypatch.setattr(choosing, "widest_within", lambda *a: searched.append(a) or 1 / 0)
    assert choose("500params", teacher, directory=tmp_path) == first
    assert not searched
    with pytest.raises(ZeroDivisionError):
        choose("400params", teacher, directory=tmp_path)


def test_an_architecture_has_the_same_random_weights_for_a_seed(teacher, monkeypatch):
    def built(name, shape, classes, input_range):
        import keras

        pixels = keras.Input(shape)
        return keras.Model(pixels, keras.layers.Dense(classes)(keras.layers.Flatten()(pixels)))

    monkeypatch.setattr(choosing, "application", built)
    weights = [choose("mobilenet_v2", teacher, seed).student.get_weights()[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("student", "said"),
    [
        ("half", "budget such as 200KB"),
        ("missing.keras", "does not exist"),
        ("1params", "narrowest copy"),
    ],
)
def test_other_students_are_refused(teacher, student, said):
    with pytest.raises(InputError, match=said):
        choose(student, teacher)
