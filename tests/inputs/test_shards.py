import os

import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.shards import (
    MAX_SHARDS,
    Shard,
    cut,
    finished_sizes,
    withdraw,
    write_shard,
)


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "shards").mkdir()
    return os.fspath(tmp_path)


class TestCut:
    def test_positions_do_not_depend_on_the_total(self):
        assert cut(10, 4) == [Shard(0, 0, 4), Shard(1, 4, 8), Shard(2, 8, 10)]
        assert cut(12, 4) == [Shard(0, 0, 4), Shard(1, 4, 8), Shard(2, 8, 12)]
        assert [shard.size for shard in cut(10, 4)] == [4, 4, 2]
        assert cut(3, 4) == [Shard(0, 0, 3)]

    def test_more_shards_than_tfds_supports_raise(self):
        assert len(cut(2 * MAX_SHARDS, 2)) == 99_999
        with pytest.raises(InputError, match=r"fit in 99999 shards.*in 100000 shards"):
            cut(2 * MAX_SHARDS + 1, 2)


class TestWrite:
    def test_marks_the_shard_after_its_records(self, directory, make_impressions, monkeypatch):
        def full(path):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        shard = Shard(7, 70, 80)
        with pytest.raises(OSError, match="No space left"):
            write_shard(directory, shard, make_impressions(70, 80))
        assert finished_sizes(directory) == {}
        monkeypatch.undo()
        write_shard(directory, shard, make_impressions(70, 80))
        assert finished_sizes(directory) == {7: 10}
        assert os.listdir(os.path.join(directory, "shards")) == ["00007-10.json"]

    def test_a_finished_shard_is_not_written_again(self, directory, make_impressions):
        shard = Shard(0, 0, 4)
        write_shard(directory, shard, make_impressions(0, 4))
        path = os.path.join(directory, "impressions-train.tfrecord-00000")
        before = tf.io.gfile.GFile(path, "rb").read()
        write_shard(directory, shard, make_impressions(50, 54))
        assert tf.io.gfile.GFile(path, "rb").read() == before

    def test_a_wrong_number_of_impressions_raises(self, directory, make_impressions):
        with pytest.raises(ValueError, match="5 examples for shard 0, from 0 to 5"):
            write_shard(directory, Shard(0, 0, 5), make_impressions(0, 4))

    def test_a_shard_can_be_withdrawn(self, directory, make_impressions):
        write_shard(directory, Shard(3, 12, 14), make_impressions(12, 14))
        withdraw(directory, 3, 2)
        assert finished_sizes(directory) == {}
