"""Every method learns a small real problem, resumes after any interruption, reads no test data.

With KERAS_ZSKD_MOMENTS=N, each training is killed at N more random moments, and the slowest tests run.
"""

import functools
import os

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd.impressions.activation_records import ActivationRecords
from keras_zskd.inputs import datasets
from keras_zskd.runs import backup
from keras_zskd.runs.needs import TrainingData
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run

pytestmark = pytest.mark.usefixtures("without_xla")
MOMENTS = int(os.environ.get("KERAS_ZSKD_MOMENTS", "0"))
# Methods with the stages of another one; methods whose training on replicas no other one shares.
SAME_STAGES = {
    "soft_targets": "zskd", "lopes": "zskd", "class_impressions": "zskd", "transfer_set": "zskd",
    "dfad": "dafl", "zskt": "dafl",
}  # fmt: skip
OWN_ON_REPLICAS = ("best", "kimura")
# Methods that need a teacher with batch normalization.
BATCH_NORM = ("deepinversion",)
# For each method, settings with a few steps, and settings that learn the small problem.
SHORT = {
    "best": {"num_impressions": 40, "steps": 16, "batch_size": 4, "synthesis_steps": 2},
    "zskd": {"num_impressions": 40, "epochs": 2, "batch_size": 3, "synthesis_steps": 2},
    "class_impressions": {
        "num_impressions": 40, "epochs": 2, "batch_size": 3, "synthesis_steps": 2,
    },
    "deepinversion": {
        "num_impressions": 40, "epochs": 1, "batch_size": 8, "synthesis_steps": 1, "rounds": 2,
    },
    "lopes": {"num_impressions": 40, "epochs": 2, "batch_size": 3, "synthesis_steps": 2},
    "soft_targets": {"num_impressions": 40, "epochs": 2, "batch_size": 3, "synthesis_steps": 2},
    "nayer": {
        "rounds": 2, "batches": 2, "groups": 5, "generator_steps": 2, "latent": 4, "filters": 4,
        "steps": 4, "batch_size": 4,
    },
    "hinton": {"epochs": 2, "batch_size": 60},
    "kimura": {
        "num_images": 12, "num_pseudo": 10, "trainings": 2, "epochs": 2, "batch_size": 4,
        "moves": 2,
    },
    "dafl": {"latent": 4, "filters": 4, "epochs": 2, "rounds": 11, "batch_size": 4},
    "dfad": {
        "latent": 4, "filters": 4, "student_steps": 2, "epochs": 2, "rounds": 7, "batch_size": 4,
    },
    "zskt": {
        "latent": 4, "filters": 4, "student_steps": 2, "epochs": 2, "rounds": 7, "batch_size": 4,
    },
    "transfer_set": {
        "inputs": "dataset", "num_inputs": 40, "epochs": 2, "batch_size": 3,
    },
}  # fmt: skip
LEARNING = {
    "best": {"num_impressions": 200, "steps": 160, "batch_size": 64},
    "zskd": {"num_impressions": 1_000, "epochs": 20, "batch_size": 64},
    "class_impressions": {"num_impressions": 1_000, "epochs": 20, "batch_size": 64},
    "deepinversion": {"num_impressions": 500, "epochs": 30, "batch_size": 64},
    "lopes": {"num_impressions": 500, "epochs": 30, "batch_size": 64},
    "soft_targets": {"num_impressions": 500, "epochs": 30, "batch_size": 64},
    "nayer": {
        "rounds": 3,
        "batches": 4,
        "latent": 32,
        "filters": 16,
        "generator_steps": 20,
        "steps": 96,
        "batch_size": 64,
    },
    "hinton": {"epochs": 60, "batch_size": 32},
    "kimura": {"num_images": 40, "num_pseudo": 200, "trainings": 2, "epochs": 20},
    "dafl": {"latent": 10, "filters": 16, "epochs": 10, "rounds": 32},
    "dfad": {"latent": 10, "filters": 16, "epochs": 4, "rounds": 32},
    "zskt": {"latent": 10, "filters": 16, "epochs": 4, "rounds": 32},
    "transfer_set": {"inputs": "dataset", "epochs": 60, "batch_size": 32},
}


def stripes(count, seed):
    """Return noisy stripes in four directions: images `(count, 8, 8, 1)` in [0, 1], and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    y, x = np.mgrid[:8, :8]
    angle = labels[:, None, None] * np.pi / 4
    along = x * np.cos(angle) + y * np.sin(angle)
    phase = random.uniform(0, 2 * np.pi, (count, 1, 1))
    images = 0.5 + 0.4 * np.sin(1.6 * along + phase) + random.normal(0, 0.1, (count, 8, 8))
    return np.clip(images, 0, 1).astype("float32")[..., None], labels


@functools.cache
def teacher_of_stripes(batch_norm):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    norms = [layers.BatchNormalization()] if batch_norm else []
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(12, 3, activation="relu"), *norms,
        layers.MaxPooling2D(), layers.Conv2D(16, 3, activation="relu"), layers.Flatten(),
        layers.Dense(24, "relu"), layers.Dense(4),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(*stripes(1_000, 0), batch_size=64, epochs=15, verbose=0)
    return zskd.Teacher(model, (0, 1))


@pytest.fixture(scope="module")
def stripes_teacher(name):
    return teacher_of_stripes(name in BATCH_NORM)


@pytest.fixture(scope="module", params=zskd.METHODS)
def name(request):
    """The name of a method; the tests of a method run consecutively, since they share fixtures."""
    return request.param


@pytest.fixture(scope="module")
def read(name):
    """The splits of the stripes dataset that the runs of a method read."""
    found = []

    def load(name, split, *arguments, **settings):
        found.append(split)
        return stripes(300, 1) if split == "train" else stripes(300, 2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", load)
        yield found


@pytest.fixture
def own_stages(name):
    """Skip a method that inherits its whole training, unless every method is asked for."""
    if name in SAME_STAGES and not MOMENTS:
        pytest.skip(f"the stages are those of {SAME_STAGES[name]}; set KERAS_ZSKD_MOMENTS.")


@pytest.fixture
def own_on_replicas(name):
    """Skip a method whose training on replicas another one shares, unless every method is asked for."""
    if name not in OWN_ON_REPLICAS and not MOMENTS:
        pytest.skip("the training on replicas is that of another method; set KERAS_ZSKD_MOMENTS.")


@pytest.fixture
def every_method():
    """Skip a test that is too slow for the suite, unless every method is asked for."""
    if not MOMENTS:
        pytest.skip("takes minutes; set KERAS_ZSKD_MOMENTS.")


@pytest.fixture
def one_step_a_call(monkeypatch):
    """Make single steps, so that a training can be killed and resumed at any step."""
    monkeypatch.setattr(backup, "_SECONDS", 0.0)
    monkeypatch.setattr("keras_zskd.runs.run.STEPS_AT_ONCE", 1)


def small_student():
    keras.utils.set_random_seed(5)
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(6, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dropout(0.1), layers.Dense(12, "relu"), layers.Dense(4),
    ])  # fmt: skip
    # Exported files contain these names.
    for number, layer in enumerate(model.layers):
        layer.name = f"layer_{number}"
    model.name = "student"
    return model


def trained(teacher, name, directory, callbacks=(), settings=SHORT):
    records = None
    if name == "lopes":
        records = directory.parent / "records.npz"
        ActivationRecords.measure(teacher, *stripes(300, 1)).save(records)
    method = zskd.METHODS[name](**settings[name])
    config = {"name": name, "config": method.get_config()}
    resources = Resources(training_dataset="stripes", records=records)
    with Run(
        teacher, small_student(), config, directory, 3, resources, callbacks, verbose=0
    ) as run:
        result = method.train(run)
        stages = run.record.run["stages"]
        histories = {key: stages[key]["history"] for key in stages if "history" in stages[key]}
        return result, histories


def assert_equal(found, expected):
    assert found[1] == expected[1]
    for one, other in zip(
        found[0].student.get_weights(), expected[0].student.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found[0].held_out, expected[0].held_out)
    np.testing.assert_array_equal(found[0].inputs.images(20), expected[0].inputs.images(20))


def int8_file(result, directory):
    """Return the int8 file that `distill` would write for this result."""
    path = directory / "student_int8.tflite"
    zskd.export(result.student, path, calibration=result.inputs.images(50), num_checks=8)
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(name, stripes_teacher, read, tmp_path_factory):
    """An uninterrupted run of a method, with one step per call."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_zskd.runs.run.STEPS_AT_ONCE", 1)
        return trained(stripes_teacher, name, tmp_path_factory.mktemp("whole"))


class TestEveryMethod:
    @pytest.mark.usefixtures("own_stages", "one_step_a_call")
    def test_killed_after_each_stage_and_within_one_it_equals_the_uninterrupted_run(
        self, name, stripes_teacher, read, whole, tmp_path, monkeypatch, kill
    ):
        calls = {"left": 0}

        def killing(verb):
            def run_and_die(*arguments, **settings):
                result = verb(*arguments, **settings)
                calls["left"] -= 1
                if calls["left"] == 0:
                    raise kill.Error
                return result

            return run_and_die

        for verb in ("synthesize", "fit", "keep"):
            monkeypatch.setattr(Run, verb, killing(getattr(Run, verb)))
        moment = kill(np.random.default_rng(0).integers(1, 9))  # It kills once, within a training.
        stages, again = 0, None
        while again is None:
            calls["left"] = stages + 1
            try:
                again = trained(stripes_teacher, name, tmp_path / "run", [moment])
            except kill.Error:
                stages += calls["left"] == 0
        assert stages >= 1
        assert moment.left <= 0
        assert_equal(again, whole)
        # A training split is read only if the method needs it, and a test split never.
        assert set(read) <= {"train"}
        needs = zskd.METHODS[name](**SHORT[name]).needs
        assert bool(read) == any(isinstance(need, TrainingData) for need in needs)

    @pytest.mark.usefixtures("every_method", "one_step_a_call", "read")
    def test_killed_at_random_moments_it_equals_the_uninterrupted_run(
        self, name, stripes_teacher, whole, tmp_path, kill
    ):
        random, kills = np.random.default_rng(0), 0
        for number in range(MOMENTS):
            directory = tmp_path / f"{number // 3}"
            try:
                trained(stripes_teacher, name, directory, [kill(random.integers(1, 9))])
            except kill.Error:
                kills += 1
        assert kills >= MOMENTS // 2
        for number in range(-(-MOMENTS // 3)):
            again = trained(stripes_teacher, name, tmp_path / f"{number}")
            assert_equal(again, whole)
            assert int8_file(again[0], tmp_path) == int8_file(whole[0], tmp_path)

    @pytest.mark.usefixtures("own_on_replicas", "one_step_a_call", "read")
    def test_on_two_replicas(self, name, stripes_teacher, two_replicas, tmp_path):
        with two_replicas.scope():
            teacher = zskd.Teacher(keras.models.clone_model(stripes_teacher.original), (0, 1))
            settings = {name: {**SHORT[name], "batch_size": 4}}
            _, histories = trained(teacher, name, tmp_path / "run", settings=settings)
        assert all(np.isfinite(history["loss"]).all() for history in histories.values())

    @pytest.mark.usefixtures("every_method", "one_step_a_call", "read")
    def test_killed_on_two_replicas_it_equals_the_uninterrupted_run(
        self, name, stripes_teacher, two_replicas, tmp_path, kill
    ):
        settings = {name: {**SHORT[name], "batch_size": 4}}
        with two_replicas.scope():
            teacher = zskd.Teacher(keras.models.clone_model(stripes_teacher.original), (0, 1))
            teacher.original.set_weights(stripes_teacher.original.get_weights())
            whole = trained(teacher, name, tmp_path / "whole", settings=settings)
            with pytest.raises(kill.Error):
                trained(teacher, name, tmp_path / "run", [kill(3)], settings)
            again = trained(teacher, name, tmp_path / "run", settings=settings)
        # Not bit for bit: on a busy machine about one run in fourteen differed.
        for one, other in zip(
            again[0].student.get_weights(), whole[0].student.get_weights(), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        for stage, history in whole[1].items():
            np.testing.assert_allclose(again[1][stage]["loss"], history["loss"], rtol=1e-4)

    @pytest.mark.usefixtures("read")
    def test_learns_a_small_real_problem_better_than_a_student_trained_on_noise(
        self, name, stripes_teacher, stripes_noise_accuracy, tmp_path
    ):
        result, _ = trained(stripes_teacher, name, tmp_path / "run", settings=LEARNING)
        accuracy = accuracy_of(result.student)
        assert accuracy > stripes_noise_accuracy + 0.1, (accuracy, stripes_noise_accuracy)


def accuracy_of(model):
    images, labels = stripes(500, 3)
    return float(np.mean(np.argmax(model.predict(images, verbose=0), -1) == labels))


@pytest.fixture(scope="module")
def stripes_noise_accuracy(stripes_teacher):
    """The accuracy of a student trained on uniform noise, with a good teacher."""
    assert accuracy_of(stripes_teacher.model) > 0.95
    return noise_accuracy(stripes_teacher)


@functools.cache
def noise_accuracy(teacher):
    images = np.random.default_rng(0).random((1_000, 8, 8, 1), "float32")
    distiller = zskd.Distiller(teacher, small_student())
    distiller.compile("adam")
    distiller.fit(images, batch_size=64, epochs=20, verbose=0)
    return accuracy_of(distiller.student)
