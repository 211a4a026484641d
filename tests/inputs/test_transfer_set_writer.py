import builtins
import json
import os
import sys

import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs import transfer_set_writer
from keras_zskd.inputs.shards import write_shard
from keras_zskd.inputs.transfer_set import finished, shard_lengths
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter


@pytest.fixture
def make_writer(tmp_path, metadata):
    def make(shard_size=5, **changes):
        return TransferSetWriter(tmp_path / "a", {**metadata, **changes}, shard_size)

    return make


@pytest.fixture
def directory(tmp_path):
    return os.fspath(tmp_path / "a")


def test_tfds_is_imported_before_there_are_threads(make_writer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="tensorflow_datasets"):
        make_writer()


class TestShards:
    def test_order_and_values_are_exact(self, make_writer, directory, fill, assert_holds):
        writer = make_writer()
        assert fill(writer, 12) == [0, 1, 2]
        assert writer.num_finished == 12
        assert shard_lengths(directory) == [5, 5, 2]
        assert_holds(directory, 12)

    def test_records_the_number_of_bytes(self, make_writer, directory, fill):
        fill(make_writer(), 12)
        with open(os.path.join(directory, "dataset_info.json")) as file:
            info = json.load(file)
        records = [name for name in os.listdir(directory) if "tfrecord" in name]
        framed = sum(os.path.getsize(os.path.join(directory, name)) for name in records)
        # Without the framing of TFRecord.
        assert int(info["splits"][0]["numBytes"]) == framed - 16 * 12

    def test_finished_in_any_order_are_listed_from_the_first(
        self, make_writer, directory, make_impressions, assert_holds, monkeypatch
    ):
        monkeypatch.setattr(transfer_set_writer, "_INDEX_EVERY", -1.0)
        writer = make_writer()
        shards = writer.unfinished(20)
        for number, readable in ((2, 0), (0, 5), (1, 15), (3, 20)):
            shard = shards[number]
            write_shard(directory, shard, make_impressions(shard.start, shard.stop))
            writer.finish(shard)
            assert finished(directory) == readable
        assert_holds(directory, 20)

    def test_the_index_is_not_written_after_each(
        self, make_writer, directory, make_impressions, monkeypatch
    ):
        written = []
        monkeypatch.setattr(
            transfer_set_writer, "write_info", lambda *given: written.append(given[-1])
        )
        writer = make_writer()
        for shard in writer.unfinished(100):
            writer.finish(shard)
        assert written == []
        writer.publish()
        assert written == [[5] * 20]

    def test_a_dead_process_left_half_a_file(
        self, make_writer, directory, make_impressions, fill, assert_holds
    ):
        _, second, *_ = make_writer().unfinished(18)
        write_shard(directory, second, make_impressions(second.start, second.stop))
        with open(os.path.join(directory, "impressions-train.tfrecord-00000"), "wb") as file:
            file.write(b"half a record")
        with open(os.path.join(directory, "dataset_info.json"), "w") as file:
            file.write('{"na')
        writer = make_writer()
        assert writer.num_finished == 5
        assert fill(writer, 18) == [0, 2, 3]  # What is finished is kept, listed or not.
        assert_holds(directory, 18)

    def test_fewer_impressions_change_nothing(self, make_writer, directory, fill, assert_holds):
        fill(make_writer(), 12)
        assert fill(make_writer(), 11) == []
        assert fill(make_writer(), 3) == []
        assert_holds(directory, 12)

    def test_more_impressions_replace_only_the_short_shard(
        self, make_writer, directory, fill, assert_holds
    ):
        fill(make_writer(), 7)
        assert fill(make_writer(), 9) == [1]
        assert_holds(directory, 9)
        assert [shard.number for shard in make_writer().unfinished(18)] == [1, 2, 3]
        # Withdrawn before anything replaces it; a driver that dies here loses only this shard.
        assert_holds(directory, 5)
        assert fill(make_writer(), 18) == [1, 2, 3]
        assert_holds(directory, 18)

    def test_an_existing_directory_keeps_its_shard_size(
        self, make_writer, directory, fill, assert_holds
    ):
        fill(make_writer(), 12)
        writer = make_writer(shard_size=100)
        assert writer.shard_size == 5
        assert fill(writer, 14) == [2]
        assert_holds(directory, 14)

    def test_an_invalid_size_raises(self, make_writer):
        with pytest.raises(InputError, match="`shard_size` must be 1 or more"):
            make_writer(0)


class TestDirectory:
    def test_other_metadata_raises(self, make_writer, directory, fill, assert_holds):
        fill(make_writer(), 12)
        with pytest.raises(InputError, match=r"\(seed, steps differ\)"):
            make_writer(seed=1, steps=3)
        assert_holds(directory, 12)

    def test_other_files_raise(self, tmp_path, metadata):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="holds something else"):
            TransferSetWriter(tmp_path, metadata, 5)
        with pytest.raises(InputError, match="holds something else"):
            TransferSetWriter(tmp_path / "notes.txt", metadata, 5)
        assert os.listdir(tmp_path) == ["notes.txt"]

    def test_an_empty_directory_is_accepted(self, tmp_path, metadata, fill, assert_holds):
        fill(TransferSetWriter(tmp_path, metadata, 5), 2)
        assert_holds(tmp_path, 2)

    def test_an_older_version_can_be_read_but_not_extended(
        self, make_writer, directory, fill, metadata, assert_holds
    ):
        fill(make_writer(), 12)
        with open(os.path.join(directory, "impressions.json"), "w") as file:
            json.dump(metadata, file)
        with pytest.raises(InputError, match=r"older version.*can be read but not extended"):
            make_writer()
        assert_holds(directory, 12)


class TestSharedStorage:
    """A file system that can neither rename a file nor create one exclusively."""

    @pytest.fixture(autouse=True)
    def _refusing(self, monkeypatch):
        def refuse(*paths, **options):
            raise PermissionError(1, "Operation not permitted")

        def open_shared(path, mode="r", *given, **options):
            return refuse() if "x" in mode else plain_open(path, mode, *given, **options)

        plain_open = builtins.open
        monkeypatch.setattr(builtins, "open", open_shared)
        for module, names in ((os, ("rename", "replace", "link")), (tf.io.gfile, ("rename",))):
            for name in names:
                monkeypatch.setattr(module, name, refuse)

    def test_is_filled_extended_and_resumed(self, make_writer, directory, fill, assert_holds):
        with pytest.raises(PermissionError):
            open(directory, "x")  # noqa: SIM115
        fill(make_writer(), 7)
        assert_holds(directory, 7)
        fill(make_writer(), 18)
        assert_holds(directory, 18)
        assert not [name for name in os.listdir(directory) if name.endswith(".part")]

    def test_may_be_known_to_tensorflow_only(self, metadata, make_impressions):
        # Without the index: TFDS knows gs:// and no file system that works offline.
        directory = "ram://bucket/impressions"
        for shard in TransferSetWriter(directory, metadata, 5).unfinished(7):
            write_shard(directory, shard, make_impressions(shard.start, shard.stop))
        again = TransferSetWriter(directory, metadata, 5)
        assert again.num_finished == 7
        files = [f"{directory}/impressions-train.tfrecord-{number:05d}" for number in range(2)]
        read = [tf.train.Example.FromString(r.numpy()) for r in tf.data.TFRecordDataset(files)]
        labels = [record.features.feature["label"].int64_list.value[0] for record in read]
        assert labels == list(make_impressions(0, 7)["label"])
