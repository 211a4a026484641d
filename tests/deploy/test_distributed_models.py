"""Export of models that were built under a strategy of two replicas."""

import contextlib

import numpy as np
import pytest

from keras_zskd import LiteRTModel, export


@pytest.mark.parametrize("is_inside", [False, True])
@pytest.mark.parametrize("name", ["student", "student_int8.tflite"])
def test_a_mirrored_model_is_exported_as_the_plain_one(
    is_inside, name, make_teacher, two_replicas, tmp_path
):
    with two_replicas.scope():
        mirrored = make_teacher("batch_norm")
    plain = make_teacher("batch_norm")
    plain.set_weights(mirrored.get_weights())
    images = np.random.default_rng(0).random((40, *plain.input_shape[1:]), "float32")
    with two_replicas.scope() if is_inside else contextlib.nullcontext():
        found = export(mirrored, tmp_path / name, calibration=images, num_checks=20)
    expected = export(plain, tmp_path / f"plain_{name}", calibration=images, num_checks=20)
    assert found.agreement == expected.agreement
    if name.endswith(".tflite"):
        logits = [LiteRTModel(tmp_path / file)(images) for file in (name, f"plain_{name}")]
        np.testing.assert_array_equal(*logits)
