import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.replicas import Replicas


def _shifted(rows, more):
    """The function of a replica: its own rows, and a number shared by all."""
    return {"a": rows["a"] + tf.cast(more, tf.float32), "count": tf.shape(rows["a"])[:1]}


class TestOneReplica:
    @pytest.fixture
    def replicas(self):
        return Replicas(tf.distribute.get_strategy())

    def test_is_one(self, replicas):
        assert replicas.count == 1

    @pytest.mark.parametrize("compiled", [False, True])
    def test_runs_on_all_rows(self, replicas, compiled):
        rows = {"a": np.arange(12, dtype="float32").reshape(6, 2)}
        made = replicas.function(_shifted, compiled)(rows, np.int32(3))
        np.testing.assert_array_equal(replicas.join(made["a"]), rows["a"] + 3)
        np.testing.assert_array_equal(replicas.join(made["count"]), [6])


class TestTwoReplicas:
    @pytest.fixture
    def replicas(self, two_replicas):
        return Replicas(two_replicas)

    def test_are_counted(self, replicas):
        assert replicas.count == 2

    def test_each_gets_its_rows_in_order(self, replicas):
        run = replicas.function(_shifted, compiled=False)
        rows = {"a": np.arange(12, dtype="float32").reshape(6, 2)}
        made = run(rows, np.int32(3))
        np.testing.assert_array_equal(replicas.join(made["count"]), [3, 3])
        np.testing.assert_array_equal(replicas.join(made["a"]), rows["a"] + 3)
        # Results can be passed again, each part on its replica.
        again = run({"a": made["a"]}, np.int32(4))
        np.testing.assert_array_equal(replicas.join(again["a"]), rows["a"] + 7)

    def test_do_not_compile(self, replicas):
        # XLA on several CPUs looks up the weights of one in the memory of another.
        variable = tf.Variable(2.0)
        run = replicas.function(lambda rows: rows * variable, compiled=True)
        made = replicas.join(run(np.arange(4, dtype="float32")))
        np.testing.assert_array_equal(made, [0, 2, 4, 6])


def test_several_machines_are_refused():
    with pytest.raises(InputError, match=r"of one machine.*MultiWorkerMirroredStrategy.*cluster="):
        Replicas(tf.distribute.MultiWorkerMirroredStrategy())
