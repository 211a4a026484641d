"""Synthesis on a Ray cluster; skipped where Ray is not installed."""

import importlib.util
import os
import pickle
import sys

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.core.workers import Cluster
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.shard_maker import ShardWorker
from keras_zskd.models.teacher import Teacher

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: keras-zskd[ray]"
)


@needs_ray
@pytest.mark.slow
def test_equals_the_plain_call_although_a_worker_is_killed(make_generator, tmp_path, monkeypatch):
    generator, cores = make_generator(), os.cpu_count()
    plain = generator.generate(10, tmp_path / "plain", batch_size=4, verbose=0).arrays()
    killed = tmp_path / "killed"

    def create(*job):
        worker = ShardWorker(*job)

        def make(shard):
            if shard.number == 1 and not killed.exists():
                killed.touch()
                os._exit(9)
            return worker(shard)

        return make

    monkeypatch.setattr("keras_zskd.impressions.generator.ShardWorker", create)
    made = generator.generate(
        10,
        tmp_path / "made",
        batch_size=4,
        verbose=0,
        cluster=Cluster("local", num_workers=2, cpus_per_worker=cores),
    ).arrays()
    assert killed.exists()
    for name, value in plain.items():
        np.testing.assert_array_equal(made[name], value, err_msg=name)


def test_without_ray_one_sentence_says_how_to_install_it(make_generator, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed.*pip install 'keras-zskd\[ray\]'"):
        make_generator().generate(4, tmp_path, verbose=0, cluster=Cluster("local"))


@pytest.mark.parametrize(
    "given", [{"num_workers": 0}, {"gpus_per_worker": -1.0}, {"cpus_per_worker": 0}]
)
def test_arguments_out_of_range_raise(given):
    with pytest.raises(InputError, match=f"`{next(iter(given))}` must be"):
        Cluster("local", **given)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_workers_know_whether_a_teacher_is_multi_label(activation):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation)])
    copy = pickle.loads(pickle.dumps(ImpressionGenerator(Teacher(model, (0, 1)))))
    assert copy.teacher.is_multi_label == (activation == "sigmoid")
