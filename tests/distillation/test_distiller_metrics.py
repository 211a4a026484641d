"""The metrics of `Distiller`."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.metrics import PredictiveKL, TeacherAgreement

pytestmark = pytest.mark.usefixtures("without_xla")


class TestMetrics:
    def test_compare_the_logits_of_both_models(
        self, make_distiller, make_student, teacher, make_images, divergence
    ):
        images, labels = make_images(10), np.arange(10) % 4
        options = {"compile_options": {"metrics": [TeacherAgreement(), PredictiveKL()]}}
        student = make_student("softmax")
        distiller = make_distiller(student, **options)
        teacher_logits = np.asarray(teacher(images))
        student_logits = np.log(student(images))
        expected = {
            "teacher_agreement": (teacher_logits.argmax(1) == student_logits.argmax(1)).mean(),
            "predictive_kl": divergence(teacher_logits, student_logits, 1.0).mean(),
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
