"""A training that is killed and resumed, compared with an uninterrupted one."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.batching import stream
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs import backup

EPOCHS, STEPS = 3, 6


@pytest.fixture(autouse=True)
def write_always(monkeypatch):
    monkeypatch.setattr(backup, "_SECONDS", 0.0)


def a_student():
    """Return a student with dropout and moving statistics; `adam` has a schedule and an average."""
    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(4, 3, use_bias=False), layers.BatchNormalization(),
        layers.ReLU(), layers.Flatten(), layers.Dropout(0.3), layers.Dense(4),
    ])  # fmt: skip


def adam():
    rate = keras.optimizers.schedules.CosineDecay(0.01, EPOCHS * STEPS)
    return keras.optimizers.Adam(rate, use_ema=True, ema_overwrite_frequency=None)


def a_classifier(steps_at_once, **options):
    keras.utils.set_random_seed(1)
    model = a_student()
    model.compile(
        adam(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=steps_at_once,
        **options,
    )
    return model


def an_eager_classifier(steps_at_once):
    """Return a model that is not compiled, which takes most of the time of these tests."""
    return a_classifier(steps_at_once, run_eagerly=True)


def another_classifier(steps_at_once):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    model.compile(adam(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def a_distiller(steps_at_once):
    keras.utils.set_random_seed(1)
    teacher = Teacher(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
                                        keras.layers.Dense(4)]), (0, 1))  # fmt: skip
    distiller = Distiller(
        teacher, a_student(), 4.0, augmentations=[RandomAffine(), Mixup(0.5)], seed=3
    )
    distiller.compile(adam(), metrics=[TeacherAgreement()], steps_per_execution=steps_at_once)
    return distiller


def data(first_step):
    rng = np.random.default_rng(0)
    arrays = (rng.random((36, 8, 8, 1), "float32"), rng.integers(0, 4, 36))
    return stream(arrays, 6, 0, first_step)


def trained(make, path, *callbacks, steps_at_once=1, **options):
    model = make(steps_at_once)
    history = backup.fit(model, data, EPOCHS, STEPS, path, callbacks, verbose=0, **options)
    return model, history


def state_of(model):
    return [v.numpy() for v in (*model.variables, *model.optimizer.variables)]


def assert_equal(found, expected):
    assert found[1] == expected[1]
    for one, other in zip(state_of(found[0]), state_of(expected[0]), strict=True):
        np.testing.assert_array_equal(one, other)


# At the end of an epoch and within epochs.
@pytest.mark.parametrize(("make", "steps"), [(a_classifier, (15,)), (a_distiller, (1, 6, 15))])
def test_killed_at_any_step_it_equals_the_uninterrupted_one(make, steps, tmp_path, kill):
    whole = trained(make, tmp_path / "whole")
    assert len(whole[1]["loss"]) == EPOCHS
    for step in steps:
        path = tmp_path / f"{step}"
        with pytest.raises(kill.Error):
            trained(make, path, kill(step))
        assert_equal(trained(make, path), whole)


def values_of(model):
    """Return all variables, separately for each replica."""
    values = [v.value for v in (*model.variables, *model.optimizer.variables)]
    return [part.numpy() for value in values for part in getattr(value, "values", [value])]


def test_killed_on_two_replicas_it_equals_the_uninterrupted_one(tmp_path, two_replicas, kill):
    with two_replicas.scope():
        whole = trained(a_distiller, tmp_path / "whole")
        with pytest.raises(kill.Error):
            trained(a_distiller, tmp_path / "parts", kill(8))
        found = trained(a_distiller, tmp_path / "parts")
    assert found[1] == whole[1]
    for one, other in zip(values_of(found[0]), values_of(whole[0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_killed_repeatedly(tmp_path, kill):
    whole, kills = trained(an_eager_classifier, tmp_path / "whole", steps_at_once=2), 0
    # Of three calls of two steps each, the third is lost: 4, 8, 12, 16 and 18 steps are kept.
    while kills < 20:
        try:
            found = trained(an_eager_classifier, tmp_path / "parts", kill(3), steps_at_once=2)
            break
        except kill.Error:
            kills += 1
    assert kills == 4
    assert_equal(found, whole)


def test_a_finished_training_returns_its_earlier_result(tmp_path, kill):
    whole = trained(an_eager_classifier, tmp_path / "whole")
    # A further step would be killed.
    assert_equal(trained(an_eager_classifier, tmp_path / "whole", kill(1)), whole)


def test_a_training_stopped_by_a_callback_is_finished(tmp_path, kill):
    model = an_eager_classifier(1)
    stop = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch == 3)
    )
    backup.fit(model, data, EPOCHS, STEPS, tmp_path / "t", callbacks=[stop], verbose=0)
    assert int(model.optimizer.iterations) == 4
    again, history = trained(an_eager_classifier, tmp_path / "t", kill(1))
    assert int(again.optimizer.iterations) == 4
    assert len(history["loss"]) == 1


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK" + b])
def test_a_damaged_file_costs_one_step(tmp_path, damage, kill):
    whole = trained(an_eager_classifier, tmp_path / "whole")
    with pytest.raises(kill.Error):
        trained(an_eager_classifier, tmp_path / "t", kill(5))
    (tmp_path / "t").write_bytes(damage((tmp_path / "t").read_bytes()))
    assert_equal(trained(an_eager_classifier, tmp_path / "t"), whole)
    with pytest.raises(kill.Error):
        trained(an_eager_classifier, tmp_path / "u", kill(5))
    (tmp_path / "u").write_bytes(damage((tmp_path / "u").read_bytes()))
    # The previous file holds step 3 (the fifth call was killed before it wrote).
    with np.load(tmp_path / "u.previous") as file:
        assert json.loads(str(file["facts"]))["step"] == 3


def test_other_settings_are_rejected(tmp_path):
    trained(an_eager_classifier, tmp_path / "t", settings={"seed": 1})
    with pytest.raises(InputError, match="must hold a training with settings") as caught:
        trained(an_eager_classifier, tmp_path / "t", settings={"seed": 2})
    assert "'seed': 1" in str(caught.value)
    assert "'seed': 2" in str(caught.value)


def test_another_model_is_rejected(tmp_path):
    trained(an_eager_classifier, tmp_path / "t")
    with pytest.raises(InputError, match="must hold the variables of this model"):
        trained(another_classifier, tmp_path / "t")


def test_the_teacher_is_not_in_the_file(tmp_path):
    model, _ = trained(a_distiller, tmp_path / "t")
    teacher = model.teacher_model.get_weights()[0]
    with np.load(tmp_path / "t") as file:
        assert all(file[name].shape != teacher.shape for name in file.files)


def test_nothing_is_left_after_removal(tmp_path):
    trained(an_eager_classifier, tmp_path / "t")
    assert len(list(tmp_path.iterdir())) == 2
    backup.remove(tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_the_file_is_written_at_the_given_interval(tmp_path, monkeypatch):
    monkeypatch.setattr(backup, "_SECONDS", 1000.0)
    trained(an_eager_classifier, tmp_path / "t")
    assert not (tmp_path / "t.previous").exists()


def test_a_tensorflow_data_set_is_resumed_at_the_step(tmp_path, kill):
    seen = []

    def watched(first):
        seen.append(first)
        return data(first)

    with pytest.raises(kill.Error):
        backup.fit(
            an_eager_classifier(1), watched, EPOCHS, STEPS, tmp_path / "t", [kill(9)], verbose=0
        )
    backup.fit(an_eager_classifier(1), watched, EPOCHS, STEPS, tmp_path / "t", verbose=0)
    assert seen == [0, 8, 12]
    assert isinstance(data(0), tf.data.Dataset)
