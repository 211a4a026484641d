import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.metrics import PredictiveKL, TeacherAgreement

# softmax([0, log 3]) = [1/4, 3/4]; softmax([log 1, log 1]) = [1/2, 1/2].
QUARTER = [0.0, np.log(3.0)]
HALF = [0.0, 0.0]


def test_agreement_counts_equal_classes():
    metric = TeacherAgreement()
    metric.update_state([[2.0, 1.0, 0.0], [0.0, 1.0, 5.0]], [[9.0, 1.0, 0.0], [0.0, 7.0, 5.0]])
    metric.update_state([[0.0, 1.0, 0.5]], [[0.0, 0.1, -3.0]])
    assert float(metric.result()) == pytest.approx(2 / 3)


def test_predictive_kl_closed_form_and_direction():
    metric = PredictiveKL()
    metric.update_state([QUARTER], [HALF])
    forward = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    assert float(metric.result()) == pytest.approx(forward, rel=1e-6)

    metric.reset_state()
    metric.update_state([HALF], [QUARTER])
    backward = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    assert float(metric.result()) == pytest.approx(backward, rel=1e-6)
    assert forward != pytest.approx(backward, rel=1e-3)


def test_predictive_kl_is_mean_over_images_of_all_batches():
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(0, 3, (2, 7, 5))
    p = np.exp(teacher) / np.exp(teacher).sum(1, keepdims=True)
    q = np.exp(student) / np.exp(student).sum(1, keepdims=True)
    metric = PredictiveKL()
    metric.update_state(teacher[:5], student[:5])
    metric.update_state(teacher[5:], student[5:])
    assert float(metric.result()) == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("metric_class", [TeacherAgreement, PredictiveKL])
def test_weight_zero_equals_omission(metric_class):
    rng = np.random.default_rng(1)
    teacher, student = rng.normal(0, 1, (2, 20, 3)).astype("float32")
    weights = np.r_[np.ones(9), np.zeros(11)]
    weighted, subset, everything = metric_class(), metric_class(), metric_class()
    weighted.update_state(teacher, student, sample_weight=weights)
    subset.update_state(teacher[:9], student[:9])
    everything.update_state(teacher, student)
    assert float(weighted.result()) == pytest.approx(float(subset.result()))
    assert float(weighted.result()) != pytest.approx(float(everything.result()), rel=1e-3)


def test_large_half_precision_logits_stay_finite():
    metric = PredictiveKL()
    metric.update_state(np.float16([[60_000.0, 0.0]]), np.float16([[0.0, 0.0]]))
    assert float(metric.result()) == pytest.approx(np.log(2.0), rel=1e-6)


@pytest.mark.parametrize("metric_class", [TeacherAgreement, PredictiveKL])
def test_round_trip_keeps_class_and_name(metric_class):
    config = keras.saving.serialize_keras_object(metric_class(name="mine"))
    assert config["registered_name"] == f"keras_zskd>{metric_class.__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is metric_class
    assert again.name == "mine"
    again.update_state([[1.0, 0.0]], [[1.0, 0.0]])
    assert float(again.result()) == (1.0 if metric_class is TeacherAgreement else 0.0)


@pytest.mark.parametrize("metric_class", [TeacherAgreement, PredictiveKL])
def test_shapes_that_would_broadcast_raise(metric_class):
    with pytest.raises(InputError, match=r"same shape \(images, classes\)"):
        metric_class().update_state(np.zeros((4, 1)), np.zeros((4, 3)))
    with pytest.raises(InputError, match=r"same shape \(images, classes\)"):
        metric_class().update_state(np.zeros(4), np.zeros(4))


def test_works_in_compile_and_fit():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.layers[0].set_weights([np.eye(3, dtype="float32")])
    metrics = [TeacherAgreement(), PredictiveKL()]
    model.compile(loss="mse", metrics=metrics)
    x = np.random.default_rng(2).normal(0, 1, (6, 3)).astype("float32")
    result = model.evaluate(x, x, verbose=0, return_dict=True)
    assert result["teacher_agreement"] == 1.0
    assert result["predictive_kl"] == pytest.approx(0.0, abs=1e-6)
