import json
import os
import threading

import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.shards import MAX_SHARDS, Ledger, Shard, cut, replace_text

SHARD = Shard(7, 70, 80)


def _race(number, work):
    """Run `work(i)` in threads that start at the same time, and return the results."""
    barrier = threading.Barrier(number)
    results = [None] * number

    def run(i):
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def ledger(tmp_path):
    return Ledger(os.fspath(tmp_path), 10)


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


class TestClaims:
    def test_each_goes_to_one_of_several_simultaneous_workers(self, ledger):
        shards = cut(400, 10)
        given = _race(8, lambda i: [s.number for s in shards if ledger.claim(s, 0, i)])
        assert sorted(number for numbers in given for number in numbers) == list(range(40))
        assert ledger.read() == ({}, dict.fromkeys(range(40), 1))

    def test_record_worker_and_time(self, ledger, tmp_path):
        assert ledger.claim(SHARD, 0, 3)
        os.utime(tmp_path / "shards" / "00007.claim0", (1000, 1000))
        assert ledger.claim(SHARD, 1, 5)
        assert ledger.read() == ({}, {7: 2})
        assert ledger.claimant(SHARD, 0) == (3, 1000)
        assert ledger.claimant(SHARD, 1)[0] == 5
        assert ledger.claimant(SHARD, 2) == (None, 0.0)

    def test_fails_if_it_is_removed_with_the_others(self, ledger, tmp_path, monkeypatch):
        def finished_by_another(shard):
            for claim in (tmp_path / "shards").glob("*.claim*"):
                claim.unlink()
            return 10

        monkeypatch.setattr(ledger, "size", finished_by_another)
        assert not ledger.claim(SHARD, 0, 1)

    def test_of_a_worker_that_died_before_it_wrote_its_number(self, ledger, tmp_path):
        (tmp_path / "shards" / "00007.claim0").touch()
        assert ledger.claimant(SHARD, 0)[0] is None
        assert not ledger.claim(SHARD, 0, 1)

    def test_of_a_finished_shard_fail(self, ledger):
        ledger.finish(SHARD, 100, 0)
        assert not ledger.claim(SHARD, 0, 1)
        assert ledger.read() == ({7: 10}, {})

    def test_are_released_with_earlier_ones(self, ledger):
        for attempt in range(3):
            assert ledger.claim(SHARD, attempt, attempt)
        ledger.release(SHARD, 1)
        assert ledger.read()[1] == {7: 3}
        ledger.release(SHARD, 2)
        assert ledger.read()[1] == {}


class TestFinished:
    def test_is_recorded_in_a_file(self, ledger, tmp_path):
        assert not ledger.size(SHARD)
        ledger.finish(SHARD, 1234, 3)
        assert ledger.size(SHARD) == 10
        assert not ledger.size(Shard(8, 80, 90))
        assert ledger.num_bytes(7, 10) == 1234
        assert json.loads((tmp_path / "shards" / "00007-10.json").read_text()) == {
            "number": 7, "start": 70, "stop": 80, "bytes": 1234, "worker": 3,
        }  # fmt: skip

    def test_a_short_shard_is_not_a_full_one(self, ledger):
        short = Shard(7, 70, 74)
        ledger.finish(short, 50, 0)
        assert ledger.size(short) == 4
        assert not ledger.size(SHARD)
        ledger.finish(SHARD, 100, 0)
        assert ledger.read()[0] == {7: 10}
        ledger.withdraw(7, 4)
        assert ledger.size(short) == 10  # The full shard has at least as many impressions.

    def test_sweep_removes_only_files_of_finished_shards(self, ledger, tmp_path):
        def leave(number):
            assert ledger.claim(Shard(number, 10 * number, 10 * number + 10), 0, 9)
            with open(ledger.part(Shard(number, 0, 0)), "w"):
                pass

        for number in (1, 2, 3):
            leave(number)
        ledger.finish(Shard(1, 10, 20), 100, 0)
        ledger.finish(Shard(3, 30, 34), 40, 0)
        (tmp_path / "shards" / "notes.txt").touch()
        ledger.sweep()
        left = sorted(name[:7] for name in os.listdir(tmp_path / "shards"))
        # Shard 3 is short: the records may be about to replace it.
        assert [name[:5] for name in left] == ["00001", "00002", "00002", "00003", "00003", "notes"]
        assert ledger.read() == ({1: 10, 3: 4}, {2: 1})


class TestReplaceText:
    def test_leaves_one_file(self, tmp_path):
        path = tmp_path / "a.json"
        replace_text(os.fspath(path), "one")
        replace_text(os.fspath(path), "two")
        assert path.read_text() == "two"
        assert os.listdir(tmp_path) == ["a.json"]

    @pytest.mark.parametrize("has_links", [True, False])
    def test_exclusive_keeps_an_existing_file(self, tmp_path, monkeypatch, has_links):
        if not has_links:

            def no_links(*paths):
                raise PermissionError("no links here")

            monkeypatch.setattr(os, "link", no_links)
        path = tmp_path / "a.json"
        replace_text(os.fspath(path), "one", exclusive=True)
        replace_text(os.fspath(path), "two", exclusive=True)
        assert path.read_text() == "one"
        assert os.listdir(tmp_path) == ["a.json"]

    def test_one_of_several_simultaneous_writes_is_complete(self, tmp_path):
        path = os.fspath(tmp_path / "a.json")
        texts = [str(i) * 10_000 for i in range(8)]

        def write(i):
            replace_text(path, texts[i], exclusive=True)
            with open(path) as file:
                return file.read()

        seen = _race(8, write)
        assert len(set(seen)) == 1
        assert seen[0] in texts
        assert os.listdir(tmp_path) == ["a.json"]

    def test_a_failure_leaves_nothing(self, tmp_path, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            replace_text(os.fspath(tmp_path / "a.json"), "text")
        assert os.listdir(tmp_path) == []
