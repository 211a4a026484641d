import json

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions.replicas import Replicas

CLUSTER = {"chief": ["localhost:1000"], "worker": ["localhost:1001", "localhost:1002"]}


def _shifted(rows, more):
    """The function of a replica: its own rows, and a number shared by all."""
    return {"a": rows["a"] + tf.cast(more, tf.float32), "count": tf.shape(rows["a"])[:1]}


class TestOneReplica:
    @pytest.fixture
    def replicas(self):
        return Replicas(tf.distribute.get_strategy())

    def test_is_one_worker_with_one_replica(self, replicas):
        assert (replicas.count, replicas.worker, replicas.num_workers) == (1, 0, 1)

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

    def test_belong_to_one_worker(self, replicas):
        assert (replicas.count, replicas.worker, replicas.num_workers) == (2, 0, 1)

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


class TestWorkers:
    """Several processes, configured by `TF_CONFIG`."""

    @pytest.mark.parametrize(
        ("cluster", "task", "worker", "num_workers"),
        [
            (CLUSTER, ("chief", 0), 0, 3),
            (CLUSTER, ("worker", 0), 1, 3),
            (CLUSTER, ("worker", 1), 2, 3),
            ({"worker": CLUSTER["worker"]}, ("worker", 1), 1, 2),
            ({"worker": CLUSTER["worker"][:1]}, ("worker", 0), 0, 1),
            ({"worker": CLUSTER["worker"], "ps": ["localhost:1003"]}, ("worker", 1), 1, 2),
        ],
    )
    def test_are_numbered_from_the_chief(self, monkeypatch, cluster, task, worker, num_workers):
        config = {"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        replicas = Replicas(tf.distribute.get_strategy())
        assert (replicas.worker, replicas.num_workers) == (worker, num_workers)
        assert replicas.count == 1

    def test_have_their_own_replicas(self, monkeypatch, two_replicas):
        config = {"cluster": CLUSTER, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        replicas = Replicas(two_replicas)
        assert (replicas.worker, replicas.num_workers, replicas.count) == (1, 3, 2)
