"""Every method: its recipe is what its docstring says, and it can be run."""

import pytest

from keras_zskd import DirichletTargets, InputError, OneHotTargets, Teacher, UniformCanvas
from keras_zskd.methods import METHODS, get_recipe


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_needs_gives_and_where_it_comes_from(name):
    method = METHODS[name]
    assert method.name == name
    assert method.needs
    assert method.gives
    assert any(year in method.reference for year in ("2015", "2018", "2019"))
    assert {"default", "paper"} <= set(method.presets)


def test_the_paper_preset_has_the_settings_of_the_released_code(tiny_teacher):
    recipe = get_recipe("zskd", "paper")
    engine = recipe.synthesis(Teacher(tiny_teacher, (0, 1))).engine
    assert (engine.temperature, engine.steps, engine.learning_rate) == (20.0, 1500, 1e-3)
    assert engine.priors == ()
    assert engine.transforms == ()
    assert isinstance(engine.canvas, UniformCanvas)
    assert engine.canvas.constraint == "rescale"
    assert engine.targets.scales == (1.0, 0.1)
    assert (recipe.num_impressions, recipe.temperature) == (40_000, 20.0)
    assert (recipe.batch_size, recipe.epochs, recipe.learning_rate) == (64, 500, 1e-3)
    assert not recipe.decay


def test_methods_differ_in_targets_alone(tiny_teacher):
    teacher = Teacher(tiny_teacher, (0, 1))
    ours, theirs = (get_recipe(name).synthesis(teacher) for name in ("zskd", "class_impressions"))
    assert isinstance(ours.engine.targets, DirichletTargets)
    assert isinstance(theirs.engine.targets, OneHotTargets)
    ours, theirs = ours.get_config(), theirs.get_config()
    assert {key for key in ours if ours[key] != theirs[key]} == {"targets"}


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="'magic'"):
        get_recipe("magic")
    with pytest.raises(InputError, match="'magic'"):
        get_recipe("zskd", "magic")
