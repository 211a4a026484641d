import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.evaluation.metrics import PredictiveKL, TeacherAgreement


def lookup(table):
    """A model whose images are the row numbers of a table of logits."""
    return lambda images: np.asarray(table)[np.asarray(images).astype(int)]


def test_every_number_by_hand():
    teacher = lookup(np.log([[0.8, 0.2], [0.4, 0.6], [0.9, 0.1]]))
    student = lookup(np.log([[0.6, 0.4], [0.7, 0.3], [0.7, 0.3]]))
    result = evaluate(teacher, student, np.arange(3), labels=np.array([0, 1, 1]))
    kl = [
        0.8 * np.log(0.8 / 0.6) + 0.2 * np.log(0.2 / 0.4),
        0.4 * np.log(0.4 / 0.7) + 0.6 * np.log(0.6 / 0.3),
        0.9 * np.log(0.9 / 0.7) + 0.1 * np.log(0.1 / 0.3),
    ]
    expected = {
        "num_images": 3,
        "agreement": 2 / 3,
        "predictive_kl": np.mean(kl),
        "teacher_accuracy": 2 / 3,
        "student_accuracy": 1 / 3,
        "teacher_nll": -np.mean(np.log([0.8, 0.6, 0.1])),
        "student_nll": -np.mean(np.log([0.6, 0.3, 0.3])),
        # One image per bin, except for the student's two at 0.7, both wrong.
        "teacher_ece": (0.2 + 0.4 + 0.9) / 3,
        "student_ece": (0.4 + 0.7 + 0.7) / 3,
        "teacher_brier": (0.08 + 0.32 + 1.62) / 3,
        "student_brier": (0.32 + 0.98 + 0.98) / 3,
    }
    assert result == pytest.approx(expected)
    assert all(type(value) is float for value in result.values())


def test_without_labels_only_fidelity_is_measured():
    result = evaluate(lookup([[1.0, 0.0]]), lookup([[1.0, 0.0]]), np.zeros(4))
    assert result == {"num_images": 4.0, "agreement": 1.0, "predictive_kl": 0.0}


def test_does_not_depend_on_the_batch_size_and_equals_the_metrics(make_teacher, make_images):
    teacher, student = make_teacher(seed=0), make_teacher("batch_norm", seed=1)
    images = make_images(37)
    whole = evaluate(teacher, student, images)
    assert evaluate(teacher, student, images, batch_size=5) == pytest.approx(whole, rel=1e-5)
    assert 0.0 < whole["agreement"] < 1.0
    for metric, name in ((TeacherAgreement(), "agreement"), (PredictiveKL(), "predictive_kl")):
        metric.update_state(teacher(images), student(images, training=False))
        assert float(metric.result()) == pytest.approx(whole[name], rel=1e-5)


def test_softmax_and_logits_of_the_same_weights_are_the_same(any_teacher, make_images):
    images = make_images(20)
    answers = np.asarray(any_teacher(images, training=False), np.float64)
    if any_teacher.name in ("softmax", "softmax_layer", "nested_softmax"):
        answers = np.log(answers)
    result = evaluate(lambda x: answers, any_teacher, images, batch_size=20)
    assert result["agreement"] == 1.0
    assert result["predictive_kl"] == pytest.approx(0.0, abs=1e-6)


def test_half_precision_student(make_teacher, make_images):
    teacher = make_teacher()
    keras.mixed_precision.set_global_policy("mixed_float16")
    student = make_teacher()
    assert student.compute_dtype == "float16"
    result = evaluate(teacher, student, make_images(50))
    assert result["agreement"] >= 0.95
    assert 0.0 < result["predictive_kl"] < 1e-3


def test_invalid_arguments_raise(tiny_teacher, make_teacher, make_images):
    images = make_images(4)
    with pytest.raises(InputError, match="at least one image"):
        evaluate(tiny_teacher, tiny_teacher, images[:0])
    with pytest.raises(InputError, match="batch_size=0"):
        evaluate(tiny_teacher, tiny_teacher, images, batch_size=0)
    with pytest.raises(InputError, match="same classes"):
        evaluate(tiny_teacher, make_teacher(num_classes=5), images)
    with pytest.raises(InputError, match="Received: a str"):
        evaluate("teacher.keras", tiny_teacher, images)
    with pytest.raises(InputError, match=r"inputs of the teacher, of shape \(8, 8, 1\)"):
        evaluate(tiny_teacher, tiny_teacher, make_images(4, (9, 9, 1)))
    with pytest.raises(InputError, match="must be from 0 to 3"):
        evaluate(tiny_teacher, tiny_teacher, images, labels=np.array([0, 1, 2, 4]))
    with pytest.raises(InputError, match="NaN"):
        evaluate(tiny_teacher, lambda x: np.full((len(x), 4), np.nan), images)
    with pytest.raises(InputError, match="one row of logits"):
        evaluate(tiny_teacher, lambda x: np.zeros((len(x), 2, 2)), images)
