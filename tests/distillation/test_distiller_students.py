"""`Distiller` with students of all kinds: saving, mixed precision, and invalid arguments."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.metrics import TeacherAgreement

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.fixture
def make_distiller_of(make_distiller, make_student):
    """A function that builds a distiller for a student with the given dtype policy."""

    def make(policy):
        keras.config.set_dtype_policy(policy)
        student = make_student()
        keras.config.set_dtype_policy("float32")
        return make_distiller(student)

    return make


class TestStudents:
    def test_softmax_and_logits_students_get_the_same_update(
        self, make_distiller, make_student, make_images
    ):
        images, labels = make_images(8), np.arange(8) % 4
        students = [make_student(end) for end in ("logits", "softmax")]
        losses = [
            make_distiller(student, hard_label_weight=0.2)
            .fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0)
            .history["loss"]
            for student in students
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        for a, b in zip(*(s.get_weights() for s in students), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(np.asarray(students[1](images)).sum(1), 1.0, rtol=1e-5)

    def test_the_distiller_returns_the_output_of_the_student(
        self, make_distiller, make_student, make_images
    ):
        student, images = make_student("softmax"), make_images(3)
        distiller = make_distiller(student)
        np.testing.assert_allclose(distiller(images), student(images))
        np.testing.assert_allclose(distiller({"image": images}), student(images))
        np.testing.assert_allclose(distiller.predict(images, verbose=0), student(images), rtol=1e-5)

    def test_regularization_of_the_student_is_in_the_loss(
        self, teacher, make_student, make_images, divergence
    ):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1), name="head")(x)
        student = keras.Model(inputs, x)
        images = make_images(8)
        kernel = student.get_layer("head").kernel.numpy()
        expected = divergence(teacher(images), np.asarray(student(images)), 3.0).mean()
        expected += 0.1 * (kernel**2).sum()
        distiller = Distiller(teacher, student, 3.0)
        distiller.compile(optimizer="sgd")
        losses = [distiller.evaluate(images, verbose=0) for _ in range(2)]
        assert losses == pytest.approx([expected, expected], rel=1e-4)

    def test_mixed_float16_student(self, teacher, make_distiller_of, make_images, divergence):
        distiller = make_distiller_of("mixed_float16")
        student = distiller.student
        assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        images = make_images(8)
        expected = divergence(teacher(images), np.asarray(student(images)), 3.0).mean()
        history = distiller.fit(images, batch_size=8, epochs=20, verbose=0).history["loss"]
        assert history[0] == pytest.approx(expected, rel=0.02)  # Not scaled in the logs.
        assert history[-1] < 0.9 * history[0]
        assert all(w.dtype == "float32" for w in student.weights)

    def test_mixed_float16_gets_the_update_of_float32(self, make_distiller_of, make_images):
        images = make_images(8)
        moved = []
        for policy in ("float32", "mixed_float16"):
            distiller = make_distiller_of(policy)
            student = distiller.student
            before = student.get_weights()
            distiller.fit(images, batch_size=8, verbose=0)
            moved.append([a - b for a, b in zip(student.get_weights(), before, strict=True)])
        for a, b in zip(*moved, strict=True):
            np.testing.assert_allclose(a, b, atol=0.03 * max(np.abs(a).max(), 1e-3))

    def test_float32_student_gets_no_loss_scale(self, make_distiller):
        assert not isinstance(make_distiller().optimizer, keras.optimizers.LossScaleOptimizer)


class TestSaving:
    def test_a_loaded_distiller_continues_the_training(
        self, make_distiller, make_student, make_images, tmp_path, invert
    ):
        images, labels = make_images(16), np.arange(16) % 4
        fit = {"batch_size": 8, "shuffle": False, "verbose": 0}
        distiller = make_distiller(
            make_student("softmax", batch_norm=True),
            optimizer=keras.optimizers.Adam(0.01),
            hard_label_weight=0.2,
            augmentations=[invert],
            distillation_losses=[keras.distillation.FeatureDistillation("mse", "hidden", "hidden")],
            compile_options={"metrics": [TeacherAgreement()]},
        )
        distiller.fit(images, labels, epochs=3, **fit)
        path = tmp_path / "distiller.keras"
        distiller.save(path)
        loaded = keras.saving.load_model(path)
        assert type(loaded) is Distiller
        assert int(loaded.optimizer.iterations) == 6
        np.testing.assert_allclose(loaded(images), distiller(images), rtol=1e-5)
        np.testing.assert_allclose(
            loaded.teacher(images), distiller.teacher(images), rtol=1e-5, atol=1e-6
        )
        logs = [model.fit(images, labels, epochs=2, **fit).history for model in (distiller, loaded)]
        assert logs[0].keys() == logs[1].keys()
        assert "teacher_agreement" in logs[0]
        for name, values in logs[0].items():
            assert logs[1][name] == pytest.approx(values, rel=1e-4), name
        for a, b in zip(distiller.student.get_weights(), loaded.student.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def test_mixed_float16_round_trip(self, make_distiller_of, make_images, tmp_path):
        distiller = make_distiller_of("mixed_float16")
        images = make_images(8)
        distiller.fit(images, verbose=0)
        distiller.save(tmp_path / "half.keras")
        loaded = keras.saving.load_model(tmp_path / "half.keras")
        assert isinstance(loaded.optimizer, keras.optimizers.LossScaleOptimizer)
        np.testing.assert_allclose(loaded(images), distiller(images), atol=2e-3)
        loaded.fit(images, verbose=0)

    def test_config_round_trip(self, make_distiller, make_images):
        distiller = make_distiller(
            temperature=7.0,
            hard_label_weight=0.5,
            augmentations=[RandomAffine(0.1), Mixup(0.2)],
            distillation_losses=[keras.distillation.LogitsDistillation(2.0)],
        )
        again = Distiller.from_config(distiller.get_config())
        assert (again.temperature, again.hard_label_weight) == (7.0, 0.5)
        assert [type(a) for a in again.augmentations] == [RandomAffine, Mixup]
        assert again.augmentations[1].probability == 0.2
        assert again.distillation_losses[0].temperature == 2.0
        assert again.teacher.input_range == distiller.teacher.input_range
        assert [w.shape for w in again.weights] == [w.shape for w in distiller.weights]

    def test_weights_round_trip(self, make_distiller, make_student, make_images, tmp_path):
        first, second = make_distiller(make_student(seed=1)), make_distiller(make_student(seed=2))
        first.save_weights(tmp_path / "w.weights.h5")
        second.load_weights(tmp_path / "w.weights.h5")
        images = make_images(3)
        np.testing.assert_allclose(second(images), first(images), rtol=1e-6)


class TestInvalidArguments:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("loss", "mse"), ("loss", keras.losses.Huber()), ("loss_weights", [1.0])],
    )
    def test_a_loss_passed_to_compile(self, make_distiller, name, value):
        with pytest.raises(
            InputError, match=rf"`{name}` must be None.*distillation_losses=\["
        ) as e:
            make_distiller(compile_options={name: value})
        assert f"{name}={value!r}" in str(e.value)

    @pytest.mark.parametrize("temperature", [0, -2.0, float("nan")])
    def test_temperature(self, teacher, make_student, temperature):
        with pytest.raises(
            InputError, match=rf"must be positive. Received: temperature={temperature}"
        ):
            Distiller(teacher, make_student(), temperature)

    @pytest.mark.parametrize("weight", [-0.1, float("nan")])
    def test_hard_label_weight(self, teacher, make_student, weight):
        with pytest.raises(
            InputError, match=rf"must be 0 or more. Received: hard_label_weight={weight}"
        ):
            Distiller(teacher, make_student(), hard_label_weight=weight)

    def test_student_with_other_classes(self, teacher, make_student):
        with pytest.raises(
            InputError, match=r"`student` must have 4 outputs.*student with 5 outputs"
        ):
            Distiller(teacher, make_student(num_classes=5))

    def test_student_with_other_inputs(self, teacher, make_student):
        with pytest.raises(
            InputError, match=r"must have.*\(8, 8, 1\).*Received:.*\(9, 9, 1\).*Resizing"
        ):
            Distiller(teacher, make_student(shape=(9, 9, 1)))

    def test_student_that_is_not_a_model(self, teacher):
        with pytest.raises(InputError, match=r"`student` must be a Keras model.*of type int"):
            Distiller(teacher, 3)

    def test_student_that_ends_in_sigmoid(self, teacher, make_student):
        student = make_student()
        student.get_layer("head").activation = keras.activations.sigmoid
        with pytest.raises(InputError, match=r"`student` must predict one class.*in sigmoid"):
            Distiller(teacher, student)
