import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import callbacks

# Predicted classes 0, 0, 2, 2 for the conditioning classes 0, 1, 2, 0.
LOGITS = np.eye(3)[[0, 0, 2, 2]]
LABELS = [0, 1, 2, 0]


def test_counts_are_summed_over_the_batches(tmp_path, fake_generator, batch, summaries):
    balance = callbacks.ClassBalance(tmp_path)
    fake_generator([batch(LABELS, LOGITS), batch(LABELS, LOGITS)]).run(balance)
    np.testing.assert_array_equal(balance.counts, [[2, 0, 2], [2, 0, 0], [0, 0, 2]])
    found = summaries(tmp_path / "class_balance")
    values = {tag: [float(v) for _, v in found[f"class_balance/{tag}"]] for tag in
              ("match", "evenness", "rarest")}  # fmt: skip
    assert values["match"] == [0.5, 0.5]
    assert values["rarest"] == [0.0, 0.0]
    # Two of three classes with equal shares: log 2 / log 3.
    np.testing.assert_allclose(values["evenness"], np.log(2) / np.log(3), rtol=1e-6)
    assert len(found["class_balance/named_by_conditioned"]) == 2


def test_a_second_run_counts_from_zero(fake_generator, batch):
    balance = callbacks.ClassBalance(class_names=["a", "b", "c"])
    generator = fake_generator([batch(LABELS, LOGITS)])
    generator.run(balance)
    generator.run(balance)
    assert balance.counts.sum() == 4
    assert balance.directory is None


def test_many_classes_are_drawn_without_names(tmp_path, fake_generator, batch, summaries):
    fake_generator([batch([0, 999], np.eye(1000)[:2])]).run(callbacks.ClassBalance(tmp_path))
    assert "class_balance/named_by_conditioned" in summaries(tmp_path / "class_balance")


def test_there_must_be_one_name_per_class(fake_generator, batch):
    with pytest.raises(InputError, match="must hold 3 names"):
        fake_generator([batch(LABELS, LOGITS)]).run(callbacks.ClassBalance(class_names=["a"]))
