import sys
import threading
import time

import numpy as np
import pytest

from keras_zskd.inputs.shard_assembly import ShardAssembly
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter


@pytest.fixture
def make_writer(tmp_path, metadata):
    """A function that makes a writer for the same directory with the given shard size."""
    return lambda shard_size: TransferSetWriter(tmp_path / "a", metadata, shard_size)


@pytest.fixture
def finished(make_impressions):
    """A function that makes finished impressions in the format of the batch."""

    def make(indices):
        indices = np.asarray(indices)
        whole = make_impressions(int(indices.min()), int(indices.max()) + 1)
        rows = {name: value[indices - indices.min()] for name, value in whole.items()}
        # Passed to callbacks, but not written.
        more = {"cross_entropy": np.ones(len(indices)), "confidence": np.ones(len(indices))}
        return {**rows, **more, "index": indices, "steps": np.full(len(indices), 3)}

    return make


def _pieces(assembly):
    return [list(piece) for piece in assembly.pieces()]


def test_nothing_is_imported_in_the_writing_thread(make_writer, monkeypatch):
    """TensorFlow Datasets changes how other threads import; see `ShardAssembly.__init__`."""
    writer = make_writer(5)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError):
        ShardAssembly(writer, 12, piece_size=3, group_size=1)


class TestPieces:
    def test_are_the_impressions_of_the_shards_in_order(self, make_writer):
        assembly = ShardAssembly(make_writer(5), 12, piece_size=3, group_size=1)
        expected = [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9], [10, 11]]
        assert _pieces(assembly) == expected

    def test_are_extended_to_whole_groups(self, make_writer):
        assembly = ShardAssembly(make_writer(8), 13, piece_size=4, group_size=4)
        # The second shard ends at 13, and its last group at 16.
        expected = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]]
        assert _pieces(assembly) == expected

    def test_skip_finished_shards(self, make_writer, finished):
        with_two_shards = ShardAssembly(make_writer(4), 8, 4, 1)
        for piece in with_two_shards.pieces():
            with_two_shards.add(finished(piece))
        with_two_shards.close()
        assert _pieces(ShardAssembly(make_writer(4), 10, 4, 1)) == [[8, 9]]

    def test_shards_are_claimed_on_demand(self, make_writer, tmp_path):
        pieces = ShardAssembly(make_writer(4), 40, 2, 1).pieces()
        for _ in range(3):
            next(pieces)
        claims = sorted(path.name for path in (tmp_path / "a" / "shards").glob("*.claim*"))
        assert claims == ["00000.claim0", "00001.claim0"]


class TestAdd:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_order_of_impressions_does_not_matter(
        self, make_writer, finished, assert_holds, tmp_path, seed
    ):
        assembly = ShardAssembly(make_writer(5), 23, piece_size=4, group_size=1)
        rng = np.random.default_rng(seed)
        indices = rng.permutation(np.concatenate(list(assembly.pieces())))
        while len(indices):
            count = rng.integers(1, 7)
            assembly.add(finished(indices[:count]))
            indices = indices[count:]
        assembly.close()
        assert_holds(tmp_path / "a", 23)

    def test_a_shard_is_written_once_it_is_complete(self, make_writer, finished, tmp_path):
        writer = make_writer(4)
        assembly = ShardAssembly(writer, 12, 4, 1)
        list(assembly.pieces())
        assembly.add(finished([4, 5, 6, 0, 1, 2, 8]))
        assembly.add(finished([7]))
        assembly.close()
        # The second shard. The first has a gap, so nothing can be read yet.
        assert writer.num_finished == 4
        assert TransferSet(tmp_path / "a").num_impressions == 0

    def test_impressions_beyond_the_shard_are_discarded(
        self, make_writer, finished, assert_holds, tmp_path
    ):
        assembly = ShardAssembly(make_writer(8), 13, piece_size=4, group_size=4)
        indices = np.concatenate(list(assembly.pieces()))
        assert indices.max() == 15
        for group in indices.reshape(-1, 4)[::-1]:
            assembly.add(finished(group))
        assembly.close()
        assert_holds(tmp_path / "a", 13)

    def test_starts_while_pieces_are_yielded(self, make_writer, finished, assert_holds, tmp_path):
        assembly = ShardAssembly(make_writer(3), 20, piece_size=3, group_size=1)
        handed_out = []
        reader = threading.Thread(target=lambda: handed_out.extend(assembly.pieces()))
        reader.start()
        done = 0
        while done < 7:
            if done < len(handed_out):
                assembly.add(finished(handed_out[done]))
                done += 1
        reader.join(10)
        assembly.close()
        assert_holds(tmp_path / "a", 20)


class TestWrites:
    def test_run_in_the_background_until_close(
        self, make_writer, finished, assert_holds, tmp_path, monkeypatch
    ):
        may_write = threading.Event()
        write = TransferSetWriter.write
        threads = set()

        def write_later(self, shard, impressions):
            assert may_write.wait(30)
            threads.add(threading.current_thread())
            time.sleep(0.1)
            write(self, shard, impressions)

        monkeypatch.setattr(TransferSetWriter, "write", write_later)
        assembly = ShardAssembly(make_writer(4), 8, 4, 1)
        for piece in assembly.pieces():
            assembly.add(finished(piece))
        # Both shards are passed to the thread, and none is written.
        assert TransferSet(tmp_path / "a").num_impressions == 0
        may_write.set()
        assembly.close()
        assert_holds(tmp_path / "a", 8)
        assert threading.main_thread() not in threads
        assert len(threads) == 1  # In sequence, in a separate thread.

    def test_do_not_accumulate_in_memory(self, make_writer, finished, monkeypatch):
        waiting, most = [], []

        def write_slowly(self, shard, impressions):
            time.sleep(0.05)
            waiting.remove(shard.number)

        monkeypatch.setattr(TransferSetWriter, "write", write_slowly)
        assembly = ShardAssembly(make_writer(2), 24, 2, 1)
        for piece in assembly.pieces():
            waiting.append(int(piece[0]) // 2)
            assembly.add(finished(piece))
            most.append(len(waiting))
        assembly.close()
        assert 1 < max(most) <= 3

    @pytest.mark.parametrize("kind", [OSError, RuntimeError])
    def test_a_failure_is_raised_at_the_next_add(self, make_writer, finished, monkeypatch, kind):
        def write_never(self, shard, impressions):
            raise kind("No space left on device")

        monkeypatch.setattr(TransferSetWriter, "write", write_never)
        assembly = ShardAssembly(make_writer(4), 400, 4, 1)
        made = []
        with pytest.raises(kind, match="No space left"):  # noqa: PT012
            for piece in assembly.pieces():
                made.append(piece)
                assembly.add(finished(piece))
        assert len(made) <= 3  # Stops early.

    def test_a_failure_of_the_last_write_is_raised_by_close(
        self, make_writer, finished, monkeypatch, tmp_path
    ):
        write = TransferSetWriter.write

        def write_until_full(self, shard, impressions):
            if shard.number == 2:
                raise OSError(28, "No space left on device")
            write(self, shard, impressions)

        monkeypatch.setattr(TransferSetWriter, "write", write_until_full)
        assembly = ShardAssembly(make_writer(4), 12, 4, 1)
        indices = np.concatenate(list(assembly.pieces()))
        assembly.add(finished(indices))
        with pytest.raises(OSError, match="No space left"):
            assembly.close()
        assert TransferSet(tmp_path / "a").num_impressions == 8
        assembly.close()  # Raised only once; no writes are left.


def test_tfds_is_imported_before_the_thread_that_writes(make_writer, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="tensorflow_datasets"):
        ShardAssembly(make_writer(5), 12, piece_size=3, group_size=1)
