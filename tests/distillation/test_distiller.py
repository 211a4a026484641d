import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Augmentation, Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation.metrics import PredictiveKL, TeacherAgreement
from keras_zskd.impressions.canvas import BlobCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.targets import DirichletTargets
from keras_zskd.models.teacher import Teacher


def _log_softmax(z):
    z = np.asarray(z, "float64")
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def _divergence(teacher, student, temperature):
    p, q = _log_softmax(np.asarray(teacher) / temperature), _log_softmax(student / temperature)
    return temperature**2 * (np.exp(p) * (p - q)).sum(-1)


def _log_of(end, outputs):
    """Logits of the output of a student, up to a constant."""
    outputs = np.asarray(outputs, "float64")
    return np.log(outputs) if end == "softmax" else outputs


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("batch_norm"), (0, 1))


@pytest.fixture
def make_distiller(teacher, make_student):
    """A function that builds a compiled Distiller with stochastic gradient descent."""

    def make(student=None, optimizer=None, compile_options=None, **options):
        options = {"temperature": 3.0, **options}
        distiller = Distiller(teacher, student or make_student(), **options)
        optimizer = optimizer or keras.optimizers.SGD(0.1)
        distiller.compile(optimizer=optimizer, **(compile_options or {}))
        return distiller

    return make


@keras.saving.register_keras_serializable(package="test_distiller")
class Invert(Augmentation):
    """A deterministic augmentation, so that the inputs of the teacher are known."""

    def __call__(self, images, input_range, seed):
        low, high = input_range
        return low + high - images


class TestInputsOfFit:
    def test_images_alone(self, make_distiller, make_student, teacher, make_images):
        images = make_images(8)
        before = np.asarray(make_student()(images))
        history = make_distiller().fit(images, batch_size=8, verbose=0).history
        assert sorted(history) == ["loss"]
        expected = _divergence(teacher(images), before, 3.0).mean()
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

    def test_hard_label_term(self, make_distiller, make_student, teacher, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        before = np.asarray(make_student()(images))
        distiller = make_distiller(hard_label_weight=0.3)
        loss = distiller.fit(images, labels, batch_size=8, verbose=0).history["loss"][0]
        cross_entropy = -_log_softmax(before)[np.arange(8), labels]
        expected = (_divergence(teacher(images), before, 3.0) + 0.3 * cross_entropy).mean()
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_labels_as_a_column(self, make_distiller, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        flat, column = (
            make_distiller(hard_label_weight=0.3).evaluate(images, y, verbose=0, return_dict=True)
            for y in (labels, labels[:, None])
        )
        assert flat == pytest.approx(column, rel=1e-6)

    def test_sample_weights(self, make_distiller, make_student, teacher, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        weights = np.array([0.0, 1, 2, 0.5, 0, 3, 1, 1], "float32")
        before = np.asarray(make_student()(images))
        logs = make_distiller(hard_label_weight=0.3).evaluate(
            images, labels, sample_weight=weights, batch_size=8, verbose=0, return_dict=True
        )
        per_example = _divergence(teacher(images), before, 3.0)
        per_example = per_example - 0.3 * _log_softmax(before)[np.arange(8), labels]
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
        self, make_distiller, make_student, teacher, make_images
    ):
        images = make_images(7)
        logs = make_distiller().evaluate(images, batch_size=5, verbose=0, return_dict=True)
        expected = _divergence(teacher(images), np.asarray(make_student()(images)), 3.0).mean()
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

    def test_are_used_without_augmentation(self, make_distiller, make_student, make_images):
        images = make_images(8)
        before = np.asarray(make_student()(images))
        data = {"image": images, "logits": self.ANSWERS}
        loss = make_distiller().fit(data, batch_size=8, verbose=0).history["loss"][0]
        assert loss == pytest.approx(_divergence(self.ANSWERS, before, 3.0).mean(), rel=1e-4)

    def test_are_not_used_with_augmentation(
        self, make_distiller, make_student, teacher, make_images
    ):
        images = make_images(8)
        before = np.asarray(make_student()(1 - images))
        data = {"image": images, "logits": self.ANSWERS}
        distiller = make_distiller(augmentations=[Invert()])
        loss = distiller.fit(data, batch_size=8, verbose=0).history["loss"][0]
        expected = _divergence(teacher(1 - images), before, 3.0).mean()
        assert loss == pytest.approx(expected, rel=1e-4)

    def test_evaluate_does_not_augment(self, make_distiller, make_student, teacher, make_images):
        images = make_images(8)
        logs = make_distiller(augmentations=[Invert()]).evaluate(
            images, verbose=0, return_dict=True
        )
        expected = _divergence(teacher(images), np.asarray(make_student()(images)), 3.0).mean()
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)

    def test_augmentations_run_in_order_in_the_teachers_range(
        self, make_teacher, make_student, make_images
    ):
        class Add(Augmentation):
            def __call__(self, images, input_range, seed):
                assert input_range == (-1.0, 2.0)
                return images + 0.25

        teacher = Teacher(make_teacher("logits"), (-1, 2))
        distiller = Distiller(teacher, make_student(), 3.0, augmentations=[Invert(), Add()])
        distiller.compile(optimizer="sgd")
        images = make_images(8)
        shown = 1 - images + 0.25
        before = np.asarray(make_student()(shown))
        loss = distiller.fit(images, batch_size=8, verbose=0).history["loss"][0]
        assert loss == pytest.approx(_divergence(teacher(shown), before, 3.0).mean(), rel=1e-4)


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


@pytest.mark.usefixtures("without_xla")
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

    def test_regularization_of_the_student_is_in_the_loss(self, teacher, make_student, make_images):
        inputs = keras.Input((8, 8, 1))
        x = keras.layers.Flatten()(inputs)
        x = keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(0.1), name="head")(x)
        student = keras.Model(inputs, x)
        images = make_images(8)
        kernel = student.get_layer("head").kernel.numpy()
        expected = _divergence(teacher(images), np.asarray(student(images)), 3.0).mean()
        expected += 0.1 * (kernel**2).sum()
        distiller = Distiller(teacher, student, 3.0)
        distiller.compile(optimizer="sgd")
        losses = [distiller.evaluate(images, verbose=0) for _ in range(2)]
        assert losses == pytest.approx([expected, expected], rel=1e-4)

    def test_mixed_float16_student(self, teacher, make_student, make_images):
        keras.config.set_dtype_policy("mixed_float16")
        student = make_student()
        keras.config.set_dtype_policy("float32")
        distiller = Distiller(teacher, student, 3.0)
        distiller.compile(optimizer=keras.optimizers.SGD(0.1))
        assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer)
        images = make_images(8)
        expected = _divergence(teacher(images), np.asarray(student(images)), 3.0).mean()
        history = distiller.fit(images, batch_size=8, epochs=20, verbose=0).history["loss"]
        assert history[0] == pytest.approx(expected, rel=0.02)  # Not scaled in the logs.
        assert history[-1] < 0.9 * history[0]
        assert all(w.dtype == "float32" for w in student.weights)

    def test_mixed_float16_gets_the_update_of_float32(self, teacher, make_student, make_images):
        images = make_images(8)
        moved = []
        for policy in ("float32", "mixed_float16"):
            keras.config.set_dtype_policy(policy)
            student = make_student()
            keras.config.set_dtype_policy("float32")
            before = student.get_weights()
            distiller = Distiller(teacher, student, 3.0)
            distiller.compile(optimizer=keras.optimizers.SGD(0.1))
            distiller.fit(images, batch_size=8, verbose=0)
            moved.append([a - b for a, b in zip(student.get_weights(), before, strict=True)])
        for a, b in zip(*moved, strict=True):
            np.testing.assert_allclose(a, b, atol=0.03 * max(np.abs(a).max(), 1e-3))

    def test_float32_student_gets_no_loss_scale(self, make_distiller):
        assert not isinstance(make_distiller().optimizer, keras.optimizers.LossScaleOptimizer)


@pytest.mark.usefixtures("without_xla")
class TestMetrics:
    def test_compare_the_logits_of_both_models(
        self, make_distiller, make_student, teacher, make_images
    ):
        images, labels = make_images(10), np.arange(10) % 4
        options = {"compile_options": {"metrics": [TeacherAgreement(), PredictiveKL()]}}
        student = make_student("softmax")
        distiller = make_distiller(student, **options)
        teacher_logits = np.asarray(teacher(images))
        student_logits = _log_of("softmax", student(images))
        expected = {
            "teacher_agreement": (teacher_logits.argmax(1) == student_logits.argmax(1)).mean(),
            "predictive_kl": _divergence(teacher_logits, student_logits, 1.0).mean(),
        }
        for arguments in ((images,), (images, labels)):
            logs = distiller.evaluate(*arguments, batch_size=4, verbose=0, return_dict=True)
            for name, value in expected.items():
                assert logs[name] == pytest.approx(value, rel=1e-4), name

    def test_are_reset_each_epoch(self, make_distiller, make_images):
        images, labels = make_images(8), np.arange(8) % 4
        distiller = make_distiller(
            optimizer=keras.optimizers.SGD(0.0), compile_options={"metrics": [TeacherAgreement()]}
        )
        history = distiller.fit(images, labels, epochs=3, batch_size=4, verbose=0).history
        for values in history.values():
            assert values == pytest.approx([values[0]] * 3, rel=1e-5)


@pytest.mark.usefixtures("without_xla")
class TestAccuracy:
    @pytest.mark.parametrize("eagerly", [False, True])
    @pytest.mark.parametrize(
        "options",
        [
            {"metrics": ["accuracy"]},
            {"metrics": ["acc", TeacherAgreement(), "mse"]},
            {"metrics": {"student": ["accuracy"]}},
            {"weighted_metrics": ["accuracy"]},
            {"metrics": ["accuracy"], "weighted_metrics": ["accuracy"]},
        ],
    )
    def test_is_against_the_labels(
        self, make_distiller, make_student, teacher, make_images, options, eagerly
    ):
        images, labels = make_images(12), np.arange(12) % 4
        student = make_student()
        names = np.asarray(student(images)).argmax(1)
        # 7 of 12 are correct; the accuracy of the teacher differs.
        labels = np.where(np.arange(12) < 7, names, (names + 1) % 4)
        assert (np.asarray(teacher(images)).argmax(1) == names).sum() != 7
        distiller = make_distiller(
            student,
            keras.optimizers.SGD(0.0),
            compile_options={**options, "run_eagerly": eagerly},
        )
        fit = {"batch_size": 5, "verbose": 0}
        history = distiller.fit(
            images, labels, validation_data=(images[:7], labels[:7]), **fit
        ).history
        assert history["accuracy"] == pytest.approx([7 / 12])
        assert history["val_accuracy"] == pytest.approx([1.0])
        assert not {"acc", "weighted_accuracy", "student_accuracy"} & set(history)

    def test_does_not_change_other_metrics(
        self, make_distiller, make_student, teacher, make_images
    ):
        images, labels = make_images(8), np.arange(8) % 4
        student = make_student()
        distiller = make_distiller(student, compile_options={"metrics": ["accuracy", "mse"]})
        logs = distiller.evaluate(images, labels, verbose=0, return_dict=True)
        expected = np.mean((np.asarray(teacher(images)) - np.asarray(student(images))) ** 2)
        assert logs["mse"] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize(
        "run",
        [
            lambda distiller, images, labels: distiller.fit(images, verbose=0),
            lambda distiller, images, labels: distiller.evaluate({"image": images}, verbose=0),
            lambda distiller, images, labels: distiller.fit(
                images, labels, validation_data=(images,), verbose=0
            ),
        ],
    )
    @pytest.mark.parametrize("eagerly", [False, True])
    def test_without_labels_raises(self, make_distiller, make_images, run, eagerly):
        options = {"metrics": ["accuracy"], "run_eagerly": eagerly}
        distiller = make_distiller(compile_options=options)
        with pytest.raises(InputError, match=r"'accuracy' without labels.*TeacherAgreement"):
            run(distiller, make_images(8), np.arange(8) % 4)

    def test_labels_are_not_required_after_compiling_without_it(self, make_distiller, make_images):
        distiller = make_distiller(compile_options={"metrics": ["accuracy"]})
        distiller.compile(metrics=[TeacherAgreement()])
        history = distiller.fit(make_images(8), verbose=0).history
        assert sorted(history) == ["loss", "teacher_agreement"]

    def test_a_metric_object_of_that_name_raises(self, make_distiller):
        metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
        for options in ({"metrics": metrics}, {"weighted_metrics": metrics}):
            with pytest.raises(InputError, match=r"named 'accuracy'.*another name"):
                make_distiller(compile_options=options)

    @pytest.mark.parametrize("others", [[], ["mse", TeacherAgreement()]])
    def test_is_required_after_loading(self, make_distiller, make_images, tmp_path, others):
        images, labels = make_images(8), np.arange(8) % 4
        distiller = make_distiller(compile_options={"metrics": ["accuracy", *others]})
        distiller.fit(images, labels, verbose=0)
        distiller.save(tmp_path / "distiller.keras")
        loaded = keras.saving.load_model(tmp_path / "distiller.keras")
        logs = [
            model.evaluate(images, labels, verbose=0, return_dict=True)
            for model in (distiller, loaded)
        ]
        assert logs[1] == pytest.approx(logs[0], rel=1e-4)
        with pytest.raises(InputError, match="without labels"):
            loaded.fit(images, verbose=0)


@pytest.mark.usefixtures("without_xla")
class TestSaving:
    def test_a_loaded_distiller_continues_the_training(
        self, make_distiller, make_student, make_images, tmp_path
    ):
        images, labels = make_images(16), np.arange(16) % 4
        fit = {"batch_size": 8, "shuffle": False, "verbose": 0}
        distiller = make_distiller(
            make_student("softmax", batch_norm=True),
            optimizer=keras.optimizers.Adam(0.01),
            hard_label_weight=0.2,
            augmentations=[Invert()],
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

    def test_mixed_float16_round_trip(self, teacher, make_student, make_images, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        student = make_student()
        keras.config.set_dtype_policy("float32")
        distiller = Distiller(teacher, student, 3.0)
        distiller.compile(optimizer=keras.optimizers.SGD(0.1))
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


@pytest.mark.usefixtures("without_xla")
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
