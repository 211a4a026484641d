import json
import os
import resource
import subprocess
import sys
import threading
import time

import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs import transfer_set_writer
from keras_zskd.inputs.transfer_set import TransferSet, finished, shard_lengths
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter


@pytest.fixture
def make_writer(tmp_path, metadata):
    def make(worker=0, num_workers=1, shard_size=5, **changes):
        return TransferSetWriter(
            tmp_path / "a", {**metadata, **changes}, shard_size, worker, num_workers
        )

    return make


@pytest.fixture
def directory(tmp_path):
    return os.fspath(tmp_path / "a")


@pytest.fixture
def impatient(monkeypatch):
    """Claims of other workers are treated as old immediately."""
    monkeypatch.setattr(transfer_set_writer, "_PATIENCE", 0.0)
    monkeypatch.setattr(transfer_set_writer, "_POLL", 0.01)


def _run(*works):
    """Run functions at the same time and raise their exceptions."""
    raised = []

    def guarded(work):
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


def _left(directory):
    """Files in shards/ other than the marks of finished shards."""
    names = os.listdir(os.path.join(directory, "shards"))
    return [name for name in names if not name.endswith(".json")]


class TestOneWorker:
    def test_order_and_values_are_exact_over_shards(
        self, make_writer, directory, fill, assert_holds
    ):
        writer = make_writer()
        assert fill(writer, 12) == [0, 1, 2]
        assert writer.num_finished == 12
        assert shard_lengths(directory) == [5, 5, 2]
        assert _left(directory) == []
        assert_holds(directory, 12)

    def test_records_the_number_of_bytes(self, make_writer, directory, fill):
        fill(make_writer(), 12)
        with open(os.path.join(directory, "dataset_info.json")) as file:
            info = json.load(file)
        records = [name for name in os.listdir(directory) if "tfrecord" in name]
        framed = sum(os.path.getsize(os.path.join(directory, name)) for name in records)
        assert (
            int(info["splits"][0]["numBytes"]) == framed - 16 * 12
        )  # Without the framing of TFRecord.

    def test_resumes(self, make_writer, directory, fill, make_impressions, assert_holds):
        claims = make_writer().claim(22)
        writer = make_writer()
        for shard, _ in zip(writer.claim(22), range(2), strict=False):
            writer.write(shard, make_impressions(shard.start, shard.stop))
        del claims
        assert finished(directory) == 10
        assert fill(make_writer(), 22) == [2, 3, 4]
        assert_holds(directory, 22)

    def test_lists_shards_that_a_dead_worker_did_not_list(
        self, make_writer, directory, fill, assert_holds
    ):
        fill(make_writer(), 12)
        make_writer()._write_info([5])  # As if the last ones were only in shards/.
        assert finished(directory) == 5
        assert fill(make_writer(), 12) == []
        assert_holds(directory, 12)

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
        assert fill(make_writer(), 18) == [1, 2, 3]
        assert_holds(directory, 18)
        assert make_writer().num_finished == 18

    def test_shards_after_a_short_one_are_not_listed_until_it_is_full(
        self, make_writer, directory, fill, make_impressions, assert_holds
    ):
        fill(make_writer(), 7)
        writer = make_writer()
        again, *others = writer.claim(20)
        assert again.number == 1
        for shard in others:
            writer.write(shard, make_impressions(shard.start, shard.stop))
            assert_holds(directory, 7)
        assert writer.num_finished == 17
        writer.write(again, make_impressions(again.start, again.stop))
        assert_holds(directory, 20)

    def test_may_claim_shards_before_writing(
        self, make_writer, directory, make_impressions, assert_holds
    ):
        writer = make_writer()
        claims = writer.claim(12)
        first, second, third = next(claims), next(claims), next(claims)
        assert [first.number, second.number, third.number] == [0, 1, 2]
        assert next(claims, None) is None  # All claimed by this object: nothing to wait for.
        for shard in (third, first, second):
            assert not writer.is_finished(shard)
            writer.write(shard, make_impressions(shard.start, shard.stop))
            assert writer.is_finished(shard)
        assert_holds(directory, 12)

    def test_an_existing_directory_keeps_its_shard_size(
        self, make_writer, directory, fill, assert_holds
    ):
        fill(make_writer(), 12)
        writer = make_writer(shard_size=100)
        assert writer.shard_size == 5
        assert fill(writer, 14) == [2]
        assert_holds(directory, 14)

    def test_a_wrong_number_of_impressions_raises(self, make_writer, make_impressions):
        writer = make_writer()
        shard = next(writer.claim(12))
        with pytest.raises(ValueError, match="5 examples for shard 0, from 0 to 5"):
            writer.write(shard, make_impressions(0, 4))

    @pytest.mark.parametrize(("worker", "num_workers", "size"), [(2, 2, 5), (-1, 1, 5), (0, 1, 0)])
    def test_invalid_arguments_raise(self, make_writer, worker, num_workers, size):
        with pytest.raises(InputError, match=r"`(worker|shard_size)` must be"):
            make_writer(worker, num_workers, size)


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

    def test_created_by_several_workers_at_once(self, make_writer):
        barrier = threading.Barrier(8)
        sizes = []

        def begin(worker):
            barrier.wait()
            sizes.append(make_writer(worker, 8, shard_size=worker + 1).shard_size)

        _run(*(lambda worker=worker: begin(worker) for worker in range(8)))
        assert len(sizes) == 8
        assert len(set(sizes)) == 1


class TestSeveralWorkers:
    def test_share_the_shards(self, make_writer, directory, make_impressions, assert_holds):
        made = []

        def work(worker):
            writer = make_writer(worker, 4)
            writer._longest = 30.0  # No worker seems dead, even on a machine under load.
            for shard in writer.claim(198):
                time.sleep(0.002 * (worker + 1))  # Some are slower.
                writer.write(shard, make_impressions(shard.start, shard.stop))
                made.append((shard.number, worker))

        _run(*(lambda worker=worker: work(worker) for worker in range(4)))
        # No worker died or was late, so no shard was made twice.
        assert sorted(number for number, _ in made) == list(range(40))
        assert {worker for _, worker in made} == {0, 1, 2, 3}
        assert _left(directory) == []
        assert_holds(directory, 198)

    def test_start_with_their_own_share_and_continue_with_the_rest(self, make_writer, fill):
        assert fill(make_writer(1, 3), 40) == [1, 4, 7, 2, 3, 5, 0, 6]
        assert make_writer(0, 3).num_finished == 40

    def test_the_first_shard_may_be_finished_last(
        self, make_writer, directory, make_impressions, assert_holds
    ):
        writer = make_writer()
        first, *others = writer.claim(18)
        for shard, in_all in zip(reversed(others), (3, 8, 13), strict=True):
            writer.write(shard, make_impressions(shard.start, shard.stop))
            assert writer.num_finished == in_all
            assert TransferSet(directory).num_impressions == 0
        writer.write(first, make_impressions(first.start, first.stop))
        assert_holds(directory, 18)

    def test_the_directory_is_a_valid_dataset_at_all_times(
        self, make_writer, directory, make_impressions, assert_holds
    ):
        writer = make_writer()
        shards = list(writer.claim(20))
        for number, readable in ((0, 5), (2, 5), (1, 15), (3, 20)):
            shard = shards[number]
            writer.write(shard, make_impressions(shard.start, shard.stop))
            assert_holds(directory, readable)

    def test_two_finish_the_same_shard_at_the_same_time(
        self, make_writer, directory, make_impressions, monkeypatch, impatient, assert_holds
    ):
        one, two = make_writer(0, 2), make_writer(1, 2)
        shards = [next(writer.claim(5)) for writer in (one, two)]
        assert shards[0] == shards[1]
        barrier = threading.Barrier(2)
        write_records = transfer_set_writer.write_records

        def together(path, impressions):
            num_bytes = write_records(path, impressions)
            barrier.wait()
            return num_bytes

        monkeypatch.setattr(transfer_set_writer, "write_records", together)
        batch = make_impressions(0, 5)
        _run(lambda: one.write(shards[0], batch), lambda: two.write(shards[1], batch))
        assert _left(directory) == []
        assert_holds(directory, 5)

    def test_the_second_copy_of_a_shard_is_discarded(
        self, make_writer, directory, make_impressions, impatient, assert_holds
    ):
        slow, fast = make_writer(0, 2), make_writer(1, 2)
        shard = next(slow.claim(5))
        assert next(fast.claim(5)) == shard
        fast.write(shard, make_impressions(0, 5))
        assert slow.is_finished(shard)
        slow.write(shard, make_impressions(100, 105))  # Different values, to detect a replacement.
        assert _left(directory) == []
        assert_holds(directory, 5)

    def test_a_slow_worker_whose_records_were_removed_does_not_fail(
        self, make_writer, directory, make_impressions, monkeypatch, impatient, fill, assert_holds
    ):
        slow = make_writer(0, 2)
        shard = next(slow.claim(5))
        overtaken = []

        class Overtaken(tf.io.TFRecordWriter):
            def __exit__(self, *error):
                super().__exit__(*error)
                if not overtaken:
                    overtaken.append(True)
                    assert fill(make_writer(1, 2), 5) == [0]

        monkeypatch.setattr(tf.io, "TFRecordWriter", Overtaken)
        slow.write(shard, make_impressions(0, 5))
        assert overtaken
        assert _left(directory) == []
        assert_holds(directory, 5)

    def test_a_slow_worker_does_not_list_fewer_shards(
        self, make_writer, directory, make_impressions, assert_holds
    ):
        one, two = make_writer(0, 2), make_writer(1, 2)
        first, second = next(one.claim(10)), next(two.claim(10))
        write_info, said = one._write_info, []

        def late(lengths):
            if not said:
                two.write(second, make_impressions(5, 10))
                assert shard_lengths(directory) == [5, 5]
            said.append(lengths)
            write_info(lengths)

        one._write_info = late
        one.write(first, make_impressions(0, 5))
        assert said == [[5], [5, 5]]
        assert_holds(directory, 10)


class TestDeadWorkers:
    def test_another_worker_makes_their_shards(
        self, make_writer, directory, impatient, fill, assert_holds
    ):
        dead = make_writer(0, 2)
        shard = next(dead.claim(18))
        with open(dead._ledger.part(shard), "wb") as file:
            file.write(b"half a record")
        made = fill(make_writer(1, 2), 18)
        assert made == [1, 3, 2, 0]  # Its own, the unclaimed one, and then that of the dead worker.
        assert _left(directory) == []
        assert_holds(directory, 18)

    @pytest.mark.slow
    def test_a_killed_process_leaves_its_claim_and_a_temporary_file(
        self, make_writer, directory, metadata, impatient, fill, assert_holds
    ):
        die = """
import json, os, sys
import numpy as np
from keras_zskd.inputs import transfer_set_writer
writer = transfer_set_writer.TransferSetWriter(sys.argv[1], json.loads(sys.argv[2]), 5, 0, 2)
shard = next(writer.claim(18))
os.fsync = lambda number: os._exit(9)  # The records are written, and have no name yet.
writer.write(shard, {
    "image": np.zeros((5, 4, 4, 1), "float32"), "target": np.zeros((5, 3), "float32"),
    "label": np.zeros(5, "int64"), "logits": np.zeros((5, 3), "float32"), "gap": np.zeros(5),
})
"""
        result = subprocess.run(
            [sys.executable, "-c", die, directory, json.dumps(metadata)], capture_output=True
        )
        assert result.returncode == 9, result.stderr.decode()
        left = _left(directory)
        assert [name.split(".")[0] for name in left] == ["00000", "00000"]  # Claim and records.
        writer = make_writer(1, 2)
        assert writer.num_finished == 0
        assert fill(writer, 18) == [1, 3, 2, 0]
        assert _left(directory) == []
        assert_holds(directory, 18)

    def test_a_restarted_worker_takes_its_own_claims_immediately(self, make_writer, fill):
        claims = make_writer(0, 2).claim(20)
        assert [next(claims).number for _ in range(2)] == [0, 2]
        begun = time.monotonic()
        assert next(make_writer(0, 2).claim(20)).number == 0
        assert time.monotonic() - begun < 1

    def test_a_single_worker_never_waits(self, make_writer, directory, fill, assert_holds):
        assert len(list(make_writer(1, 2).claim(20))) == 4
        begun = time.monotonic()
        assert fill(make_writer(), 20) == [0, 1, 2, 3]
        assert time.monotonic() - begun < 5
        assert _left(directory) == []
        assert_holds(directory, 20)

    def test_copies_start_with_the_oldest_claim_and_one_worker_each(
        self, make_writer, directory, impatient, monkeypatch
    ):
        dead = make_writer(0, 3)
        assert len(list(dead.claim(15))) == 3
        now = time.time()
        for number, age in ((0, 100), (1, 300), (2, 200)):
            path = os.path.join(directory, "shards", f"{number:05d}.claim0")
            os.utime(path, (now - age, now - age))
        monkeypatch.setattr(transfer_set_writer, "_PATIENCE", 50.0)
        assert next(make_writer(1, 3).claim(15)).number == 1
        assert next(make_writer(2, 3).claim(15)).number == 2


class TestPatience:
    def test_is_twice_the_time_of_the_worker_itself(
        self, make_writer, directory, make_impressions, monkeypatch
    ):
        monkeypatch.setattr(transfer_set_writer, "_POLL", 0.01)
        claims = make_writer(0, 2).claim(10)
        assert next(claims).number == 0
        writer = make_writer(1, 2)
        claims = writer.claim(10)
        shard = next(claims)
        time.sleep(0.4)
        writer.write(shard, make_impressions(5, 10))
        claimed = os.path.getmtime(os.path.join(directory, "shards", "00000.claim0"))
        assert next(claims).number == 0
        assert 0.7 < time.time() - claimed < 5

    def test_ends_when_the_shard_appears(
        self, make_writer, directory, make_impressions, fill, monkeypatch, assert_holds
    ):
        slow = make_writer(0, 2)
        shard = next(slow.claim(10))
        made = []

        def finish():
            while slow.num_finished < 5:
                time.sleep(0.01)
            time.sleep(0.3)
            slow.write(shard, make_impressions(0, 5))

        def work():
            writer = make_writer(1, 2)
            writer._longest = 100.0
            monkeypatch.setattr(transfer_set_writer, "_SLOWEST_POLL", 0.05)
            made.extend(fill(writer, 10))

        _run(finish, work)
        assert made == [1]
        assert_holds(directory, 10)


class TestFailures:
    def test_full_disk(self, make_writer, directory, fill, make_impressions, assert_holds):
        fill(make_writer(), 5)
        before = set(os.listdir(directory))
        writer = make_writer()
        shard = next(writer.claim(10))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            with pytest.raises((OSError, tf.errors.OpError), match=r"(?i)too large"):
                writer.write(shard, make_impressions(5, 10))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert set(os.listdir(directory)) == before
        assert _left(directory) == ["00001.claim0"]
        assert_holds(directory, 5)
        assert fill(make_writer(), 10) == [1]  # Enough space again.
        assert_holds(directory, 10)

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_crash_while_a_short_shard_is_replaced(
        self, make_writer, directory, fill, make_impressions, monkeypatch, assert_holds, moment
    ):
        fill(make_writer(), 7)
        replace = os.replace

        def die(source, target):
            if not target.endswith("tfrecord-00001"):
                return replace(source, target)
            # Neither the short shard nor the full one may be listed now.
            assert shard_lengths(directory) == [5]
            if moment == "after":
                replace(source, target)
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            fill(make_writer(), 10)
        monkeypatch.undo()
        assert_holds(directory, 5)
        assert fill(make_writer(), 7) == [1]
        assert_holds(directory, 7)
        assert fill(make_writer(), 12) == [1, 2]
        assert_holds(directory, 12)
