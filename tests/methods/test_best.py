"""Method `best` with every kind of teacher and student, with and without training."""

import keras
import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd.core.errors import InputError
from keras_zskd.methods import best
from keras_zskd.methods.best import Best
from keras_zskd.methods.best_synthesis import best_generator
from keras_zskd.models.slimming.folding import Folding
from keras_zskd.runs.run import Run

pytestmark = pytest.mark.usefixtures("without_xla")
layers = keras.layers
TEACHERS = {
    "table": [keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3)],
    "signal": [
        keras.Input((12, 2)), layers.Conv1D(8, 3, activation="relu"), layers.Flatten(),
        layers.Dense(3, "softmax"),
    ],
    "batch norm": [
        keras.Input((8, 8, 3)), layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(),
        layers.GlobalAveragePooling2D(), layers.Dense(3),
    ],
    "no templates": [
        keras.Input((8, 8, 1)), layers.Conv2D(8, 3), layers.ReLU(), layers.Conv2D(3, 3),
        layers.GlobalAveragePooling2D(),
    ],
}  # fmt: skip


def teacher_of(kind):
    keras.utils.set_random_seed(0)
    return zskd.Teacher(keras.Sequential(TEACHERS[kind]), (-1.0, 1.0))


def trained(teacher, directory, student=0.5, **settings):
    method = Best(**settings)
    with Run(teacher, student, {"name": "best"}, directory, verbose=0) as run:
        return method.train(run), run.record.run["stages"]


@pytest.mark.parametrize("kind", TEACHERS)
def test_every_kind_of_teacher_gets_a_student(kind, tmp_path):
    teacher = teacher_of(kind)
    found, stages = trained(
        teacher, tmp_path / "run", num_impressions=20, steps=8, batch_size=8, synthesis_steps=1
    )
    history = stages["training"]["history"]
    assert np.isfinite(history["loss"]).all()
    assert {"agreement_impressions", "agreement_left_out"} <= set(history)
    assert found.student.count_params() < teacher.num_parameters
    images = found.inputs.images(10)
    assert images.shape == (10, *teacher.input_shape)
    assert -1.0 <= images.min() < 0 < images.max() <= 1.0
    titles = [section.title for section in found.sections()]
    starts = ["From pictures to impressions"] if teacher.batch_norms else []
    assert titles[: 1 + len(starts)] == ["Procedural pictures", *starts]
    assert "Impressions" in titles


@pytest.mark.parametrize(
    ("channels", "activation", "canvas", "priors"),
    [
        (3, "softmax", zskd.PictureCanvas, {"TotalVariation": 1e-4, "BatchNormStatistics": 0.5}),
        (1, "softmax", zskd.BlobCanvas, {"TotalVariation": zskd.TotalVariation().weight}),
        (1, "sigmoid", zskd.PictureCanvas, {"TotalVariation": 1e-4, "BatchNormStatistics": 0.5}),
    ],
)
def test_with_batch_normalization_impressions_start_from_pictures_unless_gray(
    channels, activation, canvas, priors
):
    teacher = zskd.Teacher(
        keras.Sequential(
            [
                keras.Input((8, 8, channels)), layers.Conv2D(8, 3), layers.BatchNormalization(),
                layers.Flatten(), layers.Dense(3, activation),
            ]
        ),
        (0.0, 1.0),
    )  # fmt: skip
    config = best_generator(teacher, {"leaves": 1.0}, Best()).get_config()
    assert type(keras.saving.deserialize_keras_object(config["canvas"])) is canvas
    found = map(keras.saving.deserialize_keras_object, config["priors"])
    assert {type(prior).__name__: prior.weight for prior in found} == priors


def test_zero_minutes_give_the_folded_student_with_new_statistics(tmp_path):
    teacher = teacher_of("batch norm")
    found, stages = trained(teacher, tmp_path / "run", minutes=0)
    assert set(stages) == {"families"}
    folded = zskd.slim(teacher.original, 0.5, weights="teacher")
    np.testing.assert_array_equal(found.student.get_weights()[0], folded.get_weights()[0])
    moving_mean = found.student.get_weights()[4]
    assert not np.allclose(moving_mean, folded.get_weights()[4])
    assert "No original data" in found.origin.text
    assert found.origin.inputs == "pictures"


@pytest.mark.parametrize(
    ("start", "hint", "weights"),
    [("teacher", 6.0, [6.0]), ("teacher", 0.0, []), ("random", 6.0, [])],
)
def test_students_that_start_from_the_teacher_have_hints(
    start, hint, weights, tmp_path, monkeypatch
):
    made = []

    def distiller(*arguments, **settings):
        made.append(zskd.Distiller(*arguments, **settings))
        return made[-1]

    monkeypatch.setattr(best, "Distiller", distiller)
    sizes = {"num_impressions": 0, "steps": 8, "batch_size": 8}
    trained(teacher_of("table"), tmp_path / "run", start=start, hint=hint, **sizes)
    assert list(made[0].distillation_loss_weights) == weights


@pytest.mark.parametrize(("families", "names"), [
    ("all", {"leaves", "noise", "networks", "things", "blobs", "strokes", "hierarchy"}),
    ("leaves,noise", {"leaves", "noise"}),
])  # fmt: skip
def test_families_can_be_given_by_name(families, names, tmp_path):
    found, _ = trained(teacher_of("batch norm"), tmp_path / "run", minutes=0, families=families)
    assert found.inputs.shares == pytest.approx(dict.fromkeys(names, 1 / len(names)))


def test_training_on_impressions_only(tmp_path):
    found, _ = trained(
        teacher_of("table"), tmp_path / "run", num_impressions=20, steps=8, synthesis_steps=1,
        impression_share=1.0,
    )  # fmt: skip
    impressions = zskd.TransferSet(tmp_path / "run" / "impressions").split()[0]
    np.testing.assert_array_equal(found.inputs.images(5), impressions.arrays["image"][:5])


@pytest.mark.parametrize(("batch_size", "share"), [(8, 0.75), (100, 28 * 20 / (100 * 16))])
def test_impressions_are_used_at_most_28_times(batch_size, share, tmp_path):
    found, _ = trained(
        teacher_of("table"), tmp_path / "run", num_impressions=20, steps=16, synthesis_steps=1,
        batch_size=batch_size,
    )  # fmt: skip
    assert found.inputs.shares == pytest.approx((share, 1 - share))


def test_a_random_start_uses_the_initial_student(tmp_path):
    teacher = teacher_of("table")
    student = keras.models.clone_model(zskd.slim(teacher.original, 0.5))
    found, _ = trained(teacher, tmp_path / "run", student, minutes=0, start="random")
    np.testing.assert_array_equal(found.student.get_weights()[0], student.get_weights()[0])


def test_moving_statistics_follow_the_weights_of_the_student(tmp_path):
    teacher = teacher_of("batch norm")
    for layer in teacher.original.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.999  # As in MobileNetV2.
    found, _ = trained(teacher, tmp_path / "random", minutes=0, start="random")
    folded, _ = trained(teacher, tmp_path / "teacher", minutes=0)
    momentum = [
        next(x.momentum for x in student.layers if isinstance(x, layers.BatchNormalization))
        for student in (found.student, folded.student)
    ]
    assert momentum == [0.9, 0.99]


def test_another_student_starts_at_random_or_is_rejected(tmp_path):
    teacher = teacher_of("table")
    other = keras.Sequential(
        [keras.Input((6,)), layers.Dense(4), layers.ReLU(), layers.Dense(4), layers.Dense(3)]
    )
    found, _ = trained(teacher, tmp_path / "auto", other, minutes=0)
    np.testing.assert_array_equal(found.student.get_weights()[0], other.get_weights()[0])
    with pytest.raises(InputError, match="same order"):
        trained(teacher, tmp_path / "teacher", other, minutes=0, start="teacher")


@pytest.mark.parametrize(
    "settings",
    [
        {"minutes": -1},
        {"start": "cold"},
        {"num_impressions": 1.5},
        {"steps": -1},
        {"batch_size": 0},
        {"impression_share": 1.5},
        {"hint": -1.0},
    ],
)
def test_invalid_settings_are_rejected(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"`{name}` must be"):
        Best(**settings)


def test_hints_are_for_large_students_of_teachers_with_batch_normalization():
    student = keras.Sequential([keras.Input((4,)), layers.Dense(3_000)])  # 15,000 parameters.
    small = keras.Sequential([keras.Input((4,)), layers.Dense(2_999)])
    with_norm, without = teacher_of("batch norm"), teacher_of("signal")
    found = [
        Best()._hint_weight(*pair)
        for pair in ((with_norm, student), (with_norm, small), (without, student))
    ]
    assert found == [30.0, 0.0, 0.0]
    assert Best(hint=2.0)._hint_weight(without, small) == 2.0


def test_hints_are_on_the_last_activations_that_fit_into_memory(monkeypatch):
    body = [layers.Conv2D(8, 3, activation="relu"), layers.Conv2D(4, 3, activation="relu")]
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), *body, layers.Flatten(), layers.Dense(6, "relu"), layers.Dense(3)]
    )
    teacher, folding = zskd.Teacher(model, (0, 1)), Folding(model, zskd.slim(model, 0.5))
    names = [layer.name for layer in (*body, model.layers[-2])]
    # 6x6x8, 4x4x4 and 6 features.
    for most, expected in ((288 + 64 + 6, 3), (288 + 64 + 5, 2), (6, 1), (5, 0)):
        monkeypatch.setattr(best, "_MOST_FEATURES", most)
        found = [hint.teacher_layer_name for hint in best._hints(teacher, folding)]
        assert found == names[::-1][:expected]


def test_hints_are_on_layers_whose_names_tensorflow_does_not_accept():
    names = ("co nv", "hid\nden")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu", name=names[0]),
            layers.Flatten(),
            layers.Dense(6, "relu", name=names[1]),
            layers.Dense(3),
        ]
    )
    teacher, student = zskd.Teacher(model, (0, 1)), zskd.slim(model, 0.5)
    hints = best._hints(teacher, Folding(model, student))
    assert len(hints) == len(names)
    weights = [1.0] * len(hints)
    zskd.Distiller(teacher, student, distillation_losses=hints, distillation_loss_weights=weights)


def test_hints_and_learning_rate_decay_to_zero(tmp_path, monkeypatch):
    seen = []

    class Watch(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if isinstance(self.model, zskd.Distiller):
                seen.append(
                    (float(self.model.feature_scale), float(self.model.optimizer.learning_rate))
                )

    monkeypatch.setattr(best, "agreements", lambda *_: [Watch()])
    trained(
        teacher_of("batch norm"), tmp_path / "run", num_impressions=10, steps=16, batch_size=4,
        synthesis_steps=1, hint=1.0, learning_rate=0.01,
    )  # fmt: skip
    scales = [scale for scale, _ in seen]
    np.testing.assert_allclose(
        scales, [0.5 * (1 + np.cos(np.pi * i / 16)) for i in (0, 8)], rtol=1e-5
    )
    np.testing.assert_allclose([rate for _, rate in seen], 0.01 * np.array(scales), rtol=1e-5)


def test_time_decides_unless_both_sizes_are_given():
    assert zskd.METHODS["best"]().sizes_itself
    assert zskd.METHODS["best"](num_impressions=100).sizes_itself
    assert not zskd.METHODS["best"](num_impressions=100, steps=8).sizes_itself


@pytest.mark.parametrize(
    ("steps", "divided"),
    [(1, (1, 8)), (16, (2, 8)), (250, (16, 16)), (400, (17, 24)), (5_000, (20, 248))],
)
def test_steps_are_divided_into_epochs(steps, divided):
    epochs, each = best._divided(steps)
    assert (epochs, each) == divided
    assert epochs * each == pytest.approx(steps, rel=0.025, abs=8)


@pytest.mark.parametrize(
    ("units", "given", "rate"),
    [(3_000, None, 2e-3), (1_000, None, 6e-3), (100, None, 1e-2), (100, 5e-4, 5e-4)],
)
def test_small_students_have_a_larger_learning_rate(units, given, rate):
    student = keras.Sequential([keras.Input((4,)), layers.Dense(units)])  # 5 parameters per unit.
    assert Best(learning_rate=given)._learning_rate(student) == pytest.approx(rate)
