"""Synthesis on a Ray cluster; skipped where Ray is not installed."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.core.workers import Cluster
from keras_zskd.impressions.shard_maker import ShardWorker

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: keras-zskd[ray]"
)


class _Killed:
    """A worker that kills its own process once, before the second of the shards it is given."""

    def __init__(self, path, *job):
        self._path, self._worker = path, ShardWorker(*job)

    def __call__(self, shard):
        if shard.number == 1:
            try:
                with open(self._path, "x"):
                    os._exit(9)
            except FileExistsError:
                pass
        return self._worker(shard)


@needs_ray
@pytest.mark.slow
def test_equals_the_plain_call_although_a_worker_is_killed(make_generator, tmp_path, monkeypatch):
    generator, cores = make_generator(), os.cpu_count()
    plain = generator.generate(10, tmp_path / "plain", batch_size=4, verbose=0).arrays()
    monkeypatch.setattr(
        "keras_zskd.impressions.generator.ShardWorker",
        lambda *job: _Killed(tmp_path / "killed", *job),
    )
    made = generator.generate(
        10,
        tmp_path / "made",
        batch_size=4,
        verbose=0,
        cluster=Cluster("local", num_workers=2, cpus_per_worker=cores),
    ).arrays()
    assert (tmp_path / "killed").exists()
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
