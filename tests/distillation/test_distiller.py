"""`Distiller`: its losses, its updates, and the forms of its inputs, as compiled by default."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Augmentation, Mixup
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.impressions.canvas import BlobCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.targets import DirichletTargets
from keras_zskd.models.teacher import Teacher


class TestInputsOfFit:
    def test_images_alone(self, make_distiller, make_student, teacher, make_images, divergence):
        images = make_images(8)
        before = np.asarray(make_student()(images))
        history = make_distiller().fit(images, batch_size=8, verbose=0).history
        assert sorted(history) == ["loss"]
        expected = divergence(teacher(images), before, 3.0).mean()
        assert history["loss"][0] == pytest.approx(expected, rel=1e-4)

    def test_the_update_is_the_gradient_of_that_loss(
        self, make_distiller, make_student, teacher, make_images
    ):
        images = make_images(8)
        student, reference = make_student(), make_student()
        make_distiller(student).fit(images, batch_size=8, verbose=0)
        with tf.GradientTape() as tape:
            p = tf.nn.softmax(teacher(images) / 3.0)
            log_q = tf.nn.log_softmax(reference(images, training=True) / 3.0)
            loss = -9.0 * tf.reduce_mean(tf.reduce_sum(p * log_q, axis=-1))  # paper, equation 1
        weights = reference.trainable_weights
        for variable, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            variable.assign_sub(0.1 * gradient)
        for a, b in zip(student.get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("form", ["array", "dict", "dataset", "dict_dataset"])
    def test_all_forms_of_unlabeled_images_are_equivalent(self, make_distiller, make_images, form):
        images = make_images(8)
        data = {
            "array": lambda: images,
            "dict": lambda: {"image": images},
            "dataset": lambda: tf.data.Dataset.from_tensor_slices(images).batch(8),
            "dict_dataset": lambda: tf.data.Dataset.from_tensor_slices({"image": images}).batch(8),
        }[form]()
        plain = make_distiller().fit(images, batch_size=8, verbose=0).history["loss"]
        options = {} if "dataset" in form else {"batch_size": 8}
        loss = make_distiller().fit(data, verbose=0, **options).history["loss"]
        assert loss == pytest.approx(plain, rel=1e-5)

    def test_labels_without_weight_only_add_accuracy(
        self, make_distiller, make_student, make_images
    ):
        images, labels = make_images(8), np.arange(8) % 4
        plain, labelled = make_student(), make_student()
        hits = (np.asarray(plain(images)).argmax(1) == labels).mean()
        first = make_distiller(plain).fit(images, batch_size=8, verbose=0).history
        second = make_distiller(labelled).fit(images, labels, batch_size=8, verbose=0).history
        assert sorted(second) == ["accuracy", "loss"]
        assert second["accuracy"][0] == pytest.approx(hits)
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
        for a, b in zip(plain.get_weights(), labelled.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)

    def test_hard_label_term(self, make_distiller, make_student, teacher, make_images, divergence):
        images, labels = make_images(8), np.arange(8) % 4
        before = np.asarray(make_student()(images))
        distiller = make_distiller(hard_label_weight=0.3)
        loss = distiller.fit(images, labels, batch_size=8, verbose=0).history["loss"][0]
        cross_entropy = -scipy.special.log_softmax(before, axis=-1)[np.arange(8), labels]
        expected = (divergence(teacher(images), before, 3.0) + 0.3 * cross_entropy).mean()
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_labels_as_a_column(self, make_distiller, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        flat, column = (
            make_distiller(hard_label_weight=0.3).evaluate(images, y, verbose=0, return_dict=True)
            for y in (labels, labels[:, None])
        )
        assert flat == pytest.approx(column, rel=1e-6)

    def test_sample_weights(self, make_distiller, make_student, teacher, make_images, divergence):
        images, labels = make_images(8), np.arange(8) % 4
        weights = np.array([0.0, 1, 2, 0.5, 0, 3, 1, 1], "float32")
        before = np.asarray(make_student()(images))
        logs = make_distiller(hard_label_weight=0.3).evaluate(
            images, labels, sample_weight=weights, batch_size=8, verbose=0, return_dict=True
        )
        per_example = divergence(teacher(images), before, 3.0)
        per_example = (
            per_example - 0.3 * scipy.special.log_softmax(before, axis=-1)[np.arange(8), labels]
        )
        assert logs["loss"] == pytest.approx((weights * per_example).mean(), rel=1e-4)
        hits = before.argmax(1) == labels
        assert logs["accuracy"] == pytest.approx((weights * hits).sum() / weights.sum(), rel=1e-5)

    def test_weight_zero_changes_nothing(self, make_distiller, make_student, make_images):
        student = make_student()
        before = student.get_weights()
        make_distiller(student).fit(
            make_images(8), np.arange(8) % 4, sample_weight=np.zeros(8), verbose=0
        )
        for now, then in zip(student.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_a_smaller_last_batch_is_weighted_by_its_size(
        self, make_distiller, make_student, teacher, make_images, divergence
    ):
        images = make_images(7)
        logs = make_distiller().evaluate(images, batch_size=5, verbose=0, return_dict=True)
        expected = divergence(teacher(images), np.asarray(make_student()(images)), 3.0).mean()
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)

    def test_validation_data(self, make_distiller, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        distiller = make_distiller(compile_options={"metrics": [TeacherAgreement()]})
        history = distiller.fit(
            images, epochs=2, batch_size=4, validation_data=(images, labels), verbose=0
        ).history
        assert set(history) == {
            "loss", "teacher_agreement", "val_loss", "val_accuracy", "val_teacher_agreement",
        }  # fmt: skip
        logs = distiller.evaluate(images, labels, verbose=0, return_dict=True)
        for name, value in logs.items():
            assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-5)

    def test_steps_per_execution(self, make_distiller, make_student, make_images):
        images = make_images(16)
        students = [make_student(), make_student()]
        losses = [
            make_distiller(student, compile_options={"steps_per_execution": steps})
            .fit(images, batch_size=4, epochs=2, shuffle=False, verbose=0)
            .history["loss"]
            for student, steps in zip(students, (1, 2), strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        for a, b in zip(*(s.get_weights() for s in students), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

    def test_eagerly(self, make_distiller, make_images):
        images = make_images(8)
        compiled = make_distiller().fit(images, batch_size=8, verbose=0).history["loss"]
        eager = make_distiller(compile_options={"run_eagerly": True})
        assert eager.fit(images, batch_size=8, verbose=0).history["loss"] == pytest.approx(
            compiled, rel=1e-5
        )


class TestCachedLogits:
    ANSWERS = np.tile(np.float32([5.0, 0.0, -5.0, 0.0]), (8, 1))

    def test_are_used_without_augmentation(
        self, make_distiller, make_student, make_images, divergence
    ):
        images = make_images(8)
        before = np.asarray(make_student()(images))
        data = {"image": images, "logits": self.ANSWERS}
        loss = make_distiller().fit(data, batch_size=8, verbose=0).history["loss"][0]
        assert loss == pytest.approx(divergence(self.ANSWERS, before, 3.0).mean(), rel=1e-4)

    def test_are_not_used_with_augmentation(
        self, make_distiller, make_student, teacher, make_images, divergence, invert
    ):
        images = make_images(8)
        before = np.asarray(make_student()(1 - images))
        data = {"image": images, "logits": self.ANSWERS}
        distiller = make_distiller(augmentations=[invert])
        loss = distiller.fit(data, batch_size=8, verbose=0).history["loss"][0]
        expected = divergence(teacher(1 - images), before, 3.0).mean()
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_evaluate_does_not_augment(
        self, make_distiller, make_student, teacher, make_images, divergence, invert
    ):
        images = make_images(8)
        logs = make_distiller(augmentations=[invert]).evaluate(images, verbose=0, return_dict=True)
        expected = divergence(teacher(images), np.asarray(make_student()(images)), 3.0).mean()
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)

    def test_augmentations_run_in_order_in_the_teachers_range(
        self, make_teacher, make_student, make_images, divergence, invert
    ):
        class Add(Augmentation):
            def __call__(self, images, input_range, seed):
                assert input_range == (-1.0, 2.0)
                return images + 0.25

        teacher = Teacher(make_teacher("logits"), (-1, 2))
        distiller = Distiller(teacher, make_student(), 3.0, augmentations=[invert, Add()])
        distiller.compile(optimizer="sgd")
        images = make_images(8)
        shown = 1 - images + 0.25
        before = np.asarray(make_student()(shown))
        loss = distiller.fit(images, batch_size=8, verbose=0).history["loss"][0]
        assert loss == pytest.approx(divergence(teacher(shown), before, 3.0).mean(), rel=1e-4)


class TestUpdates:
    def test_evaluate_and_predict_change_nothing(self, make_distiller, make_student, make_images):
        student = make_student(batch_norm=True)
        distiller = make_distiller(
            student,
            distillation_losses=[keras.distillation.FeatureDistillation("mse", "hidden", "hidden")],
        )
        before = [w.copy() for w in distiller.get_weights()]
        distiller.evaluate(3 + make_images(8), verbose=0)
        distiller.predict(3 + make_images(8), verbose=0)
        for now, then in zip(distiller.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_fit_updates_the_students_statistics_once_and_the_teacher_never(
        self, make_distiller, make_student, teacher, make_images
    ):
        student, images = make_student(batch_norm=True), make_images(8)
        conv = keras.Model(student.inputs[0], student.get_layer("conv").output)
        batch_mean = np.asarray(conv(images)).mean((0, 1, 2))
        before = teacher.model.get_weights()
        loss = keras.distillation.FeatureDistillation("mse", "hidden", "hidden")
        make_distiller(student, distillation_losses=[loss]).fit(images, batch_size=8, verbose=0)
        # momentum 0.5, from zero, one step
        np.testing.assert_allclose(
            student.get_layer("bn").moving_mean, 0.5 * batch_mean, rtol=1e-4, atol=1e-6
        )
        for now, then in zip(teacher.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_weights_of_losses(self, make_distiller, make_student, make_images):
        images, loss = make_images(8), keras.distillation.FeatureDistillation("mse", None, None)
        plain, once, thrice = (
            make_distiller(
                distillation_losses=[loss] * len(weights), distillation_loss_weights=weights
            ).evaluate(images, verbose=0)
            for weights in ((), (1.0,), (2.0, 1.0))
        )
        assert once > plain + 1e-3
        assert thrice - plain == pytest.approx(3 * (once - plain), rel=1e-4)
        with pytest.raises(InputError, match="2 weights for 1 losses"):
            make_distiller(distillation_losses=[loss], distillation_loss_weights=[1.0, 2.0])

    def test_only_the_student_is_trainable(self, make_distiller, make_student):
        student = make_student(batch_norm=True)
        distiller = make_distiller(student)
        assert {id(w) for w in distiller.trainable_variables} == {
            id(w) for w in student.trainable_variables
        }

    def test_dropout_is_on_in_fit_and_off_in_evaluate(
        self, make_distiller, make_student, make_images
    ):
        student, images = make_student(dropout=0.8), make_images(8)
        distiller = make_distiller(student, optimizer=keras.optimizers.SGD(0.0))
        first, second = (distiller.evaluate(images, verbose=0) for _ in range(2))
        assert first == second
        losses = distiller.fit(images, batch_size=8, epochs=3, shuffle=False, verbose=0)
        assert len(set(losses.history["loss"])) == 3


def _spots(count, seed):
    """Noisy images with a bright spot in one of the four corners, as 4 classes."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(0.0, 0.4, (count, 8, 8, 1)).astype("float32")
    labels = np.arange(count) % 4
    for image, label in zip(images, labels, strict=True):
        y, x = 4 * (label // 2) + rng.integers(0, 2), 4 * (label % 2) + rng.integers(0, 2)
        image[y : y + 3, x : x + 3] += 0.5
    return images, labels


def test_a_student_of_impressions_learns_the_task_of_its_teacher(make_student, tmp_path):
    # End to end, without data for the student: teacher -> impressions -> student.
    keras.utils.set_random_seed(0)
    trained = make_student("softmax", seed=3)
    trained.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    trained.fit(*_spots(600, seed=0), batch_size=50, epochs=12, verbose=0)
    images, labels = _spots(400, seed=1)
    teacher = Teacher(trained, (0, 1))
    classes = np.asarray(teacher(images)).argmax(1)
    assert (classes == labels).mean() > 0.9

    generator = ImpressionGenerator(
        teacher, DirichletTargets((1.0, 0.1)), canvas=BlobCanvas(), steps=15, learning_rate=0.2
    )
    made = generator.generate(600, tmp_path / "impressions", verbose=0)
    student = make_student(seed=8)
    before = (np.asarray(student(images)).argmax(1) == classes).mean()
    distiller = Distiller(teacher, student, temperature=4.0, augmentations=[Mixup(0.5)])
    distiller.compile(optimizer=keras.optimizers.Adam(0.01))
    distiller.fit(made.dataset(50), epochs=25, verbose=0)
    agreement = (np.asarray(student(images)).argmax(1) == classes).mean()
    assert agreement > 0.6  # Chance is 1/4.
    assert agreement > before + 0.2


def test_categories_are_allowed_values_after_augmentation():
    layers = keras.layers
    table, student = (keras.Sequential([keras.Input((2,)), layers.Dense(3)]) for _ in range(2))
    teacher = Teacher(table, [[-1, 1], {"values": [0, 1]}])
    distiller = Distiller(teacher, student, augmentations=(Mixup(1.0),))
    distiller.compile("sgd", run_eagerly=True)
    seen = []
    distiller._update = lambda images, *rest: seen.append(np.asarray(images)) or {}
    rows = np.array([[-1, 0], [1, 1], [0.5, 1], [-0.5, 0]] * 8, np.float32)
    distiller.train_step(rows)
    assert not np.isin(seen[0][:, 0], rows[:, 0]).all()
    assert set(np.unique(seen[0][:, 1])) == {0, 1}
    again = Distiller.from_config(distiller.get_config())
    assert again.teacher.input_range == teacher.input_range
