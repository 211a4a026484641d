"""Every method documents its settings, and is rejected where it cannot work."""

import dataclasses
import inspect
import types

import keras
import numpy as np
import pytest

from keras_zskd import (
    METHODS,
    DirichletTargets,
    ImpressionGenerator,
    InputError,
    Method,
    OneHotTargets,
    Teacher,
    UniformCanvas,
)
from keras_zskd.impressions.activation_records import ActivationRecords
from keras_zskd.impressions.objectives import ClassLogit
from keras_zskd.impressions.transforms import AffineJitter
from keras_zskd.methods import get_method
from keras_zskd.runs.resources import Resources


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_has_a_title_and_a_reference(self, name):
        method = METHODS[name]
        assert method.name == name
        assert method.title
        assert any(str(year) in method.reference for year in range(2015, 2025))
        assert method.presets["default"] == {}
        assert "paper" in method.presets or name in ("best", "transfer_set")

    def test_is_restored_from_its_configuration(self, name):
        for preset in METHODS[name].presets:
            method = METHODS[name].preset(preset)
            config = keras.saving.serialize_keras_object(method)
            again = keras.saving.deserialize_keras_object(config)
            assert type(again) is METHODS[name]
            assert again.get_config() == method.get_config()

    def test_documents_every_setting(self, name):
        documented = "".join(inspect.getdoc(kind) or "" for kind in METHODS[name].__mro__)
        for setting in METHODS[name].arguments():
            assert f"\n    {setting}: " in documented, setting

    def test_rejects_unknown_presets_and_settings(self, name):
        with pytest.raises(InputError, match="'magic'"):
            METHODS[name].preset("magic")
        with pytest.raises(InputError, match="magic"):
            METHODS[name].preset(magic=1)

    def test_rejects_negative_numbers_at_once(self, name):
        kinds = {field.name: str(field.type) for field in dataclasses.fields(METHODS[name])}
        settings = [setting for setting, kind in kinds.items() if "float" in kind or "int" in kind]
        assert len(settings) > 2
        for setting in settings:
            with pytest.raises(InputError, match=f"`{setting}` must be"):
                METHODS[name](**{setting: -1})
            if "rate" in setting or "temperature" in setting:
                with pytest.raises(InputError, match=f"`{setting}` must be a positive number"):
                    METHODS[name](**{setting: 0.0})

    def test_rejects_settings_of_other_types_at_once(self, name):
        for field in dataclasses.fields(METHODS[name]):
            if not isinstance(field.type, type | types.UnionType):
                continue  # A sequence.
            with pytest.raises(InputError, match=f"`{field.name}` must be"):
                METHODS[name](**{field.name: 1j})
            if field.type is not str and field.type != str | None:
                with pytest.raises(InputError, match=f"`{field.name}` must be.*='abc'"):
                    METHODS[name].preset(**{field.name: "abc"})

    def test_reports_what_is_missing(self, name, make_teacher, make_images, tmp_path):
        teacher = Teacher(make_teacher("batch_norm"), (0, 1))
        method = METHODS[name]()
        records = tmp_path / "records.npz"
        ActivationRecords.measure(teacher, make_images(8), np.arange(8) % 4).save(records)
        if any("records" in need.text for need in method.needs):
            assert "keras_zskd.record" in method.missing(teacher, Resources())
        if any("data" in need.text or "images" in need.text for need in method.needs):
            assert "training_dataset" in method.missing(teacher, Resources())
        resources = Resources(training_dataset="mnist", records=records)
        assert method.missing(teacher, resources) is None

    @pytest.mark.parametrize("setting", ["epochs", "batch_size", "num_impressions"])
    def test_rejects_counts_below_one(self, name, setting):
        if setting in METHODS[name].arguments():
            count = 0 if METHODS[name].arguments()[setting] is not None else -1
            with pytest.raises(InputError, match=f"{setting}={count}"):
                METHODS[name](**{setting: count})


def test_a_teacher_without_templates_is_rejected():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
    teacher = Teacher(keras.Model(inputs, x), (0, 1))
    assert METHODS["zskd"]().missing(teacher, Resources())
    assert METHODS["class_impressions"]().missing(teacher, Resources()) is None


def test_a_teacher_without_batch_normalization_is_rejected(tiny_teacher):
    said = METHODS["deepinversion"]().missing(Teacher(tiny_teacher, (0, 1)), Resources())
    assert said.startswith("`teacher` must have batch normalization layers")
    assert "teacher='logits'" in said


def test_deepinversion_has_the_priors_of_the_paper(make_teacher):
    method = METHODS["deepinversion"].preset("paper", pixel_norm=3e-8)
    engine = method.generator(Teacher(make_teacher("batch_norm"), (0, 1))).engine
    priors = {type(prior).__name__: prior for prior in engine.priors}
    assert [*priors] == ["TotalVariation", "PixelNorm", "BatchNormStatistics"]
    assert [prior.weight for prior in priors.values()] == [2.5e-5, 3e-8, 10.0]
    assert priors["BatchNormStatistics"].group_size == 256
    assert (engine.steps, engine.learning_rate) == (2000, 0.1)
    assert engine.objective.temperature == 1.0
    assert isinstance(engine.objective.targets, OneHotTargets)


def test_the_paper_preset_has_the_settings_of_the_released_code(tiny_teacher):
    method = METHODS["zskd"].preset("paper")
    engine = method.generator(Teacher(tiny_teacher, (0, 1))).engine
    assert (engine.steps, engine.learning_rate) == (1500, 1e-3)
    assert engine.priors == ()
    assert engine.transforms == ()
    assert isinstance(engine.canvas, UniformCanvas)
    assert engine.canvas.constraint == "rescale"
    assert engine.objective.temperature == 20.0
    assert engine.objective.targets.scales == (1.0, 0.1)
    assert (method.num_impressions, method.temperature) == (40_000, 20.0)
    assert (method.batch_size, method.epochs, method.learning_rate) == (64, 500, 1e-3)
    assert not method.decay


@pytest.mark.parametrize("kind", ["logits", "batch_norm"])
def test_the_default_synthesis_equals_the_generator_defaults(make_teacher, kind):
    teacher = Teacher(make_teacher(kind), (0, 1))
    ours = METHODS["zskd"]().generator(teacher).get_config()
    assert ours == ImpressionGenerator(teacher).get_config()


def test_methods_differ_only_in_targets(tiny_teacher):
    teacher = Teacher(tiny_teacher, (0, 1))
    ours, theirs = (METHODS[n]().generator(teacher) for n in ("zskd", "class_impressions"))
    assert isinstance(ours.engine.objective.targets, DirichletTargets)
    assert isinstance(theirs.engine.objective.targets, OneHotTargets)
    ours, theirs = ours.get_config(), theirs.get_config()
    assert {key for key in ours if ours[key] != theirs[key]} == {"objective"}
    ours, theirs = (made["objective"]["config"] for made in (ours, theirs))
    assert {key for key in ours if ours[key] != theirs[key]} == {"targets"}


def test_class_impressions_of_the_paper_maximize_the_logit(tiny_teacher):
    method = METHODS["class_impressions"].preset("paper")
    engine = method.generator(Teacher(tiny_teacher, (0, 1))).engine
    assert isinstance(engine.objective, ClassLogit)
    assert (engine.objective.low, engine.objective.high) == (0.55, 0.99)
    (transform,) = engine.transforms
    assert isinstance(transform, AffineJitter)
    assert transform.degrees == 5.0
    assert transform.scales == (0.95, 0.975, 1.0, 1.025, 1.05)
    assert engine.priors == ()
    assert isinstance(engine.canvas, UniformCanvas)
    with pytest.raises(InputError, match="`maximizes` must be one of probability, logit"):
        METHODS["class_impressions"](maximizes="entropy")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("magic", "'magic'"),
        ("no_such_module:Method", "can be imported"),
        ("keras_zskd:NoSuchMethod", "can be imported"),
        ("keras_zskd:Teacher", "subclass of keras_zskd.Method"),
    ],
)
def test_unknown_methods_are_rejected(name, said):
    with pytest.raises(InputError, match=said):
        get_method(name)


def test_a_method_can_be_given_by_its_module():
    found = get_method("keras_zskd.methods.zskd:ZSKD")
    assert found is METHODS["zskd"]
    assert issubclass(found, Method)
