import threading
import time

import numpy as np
import pytest

from keras_zskd.inputs.shard_assembly import ShardAssembly
from keras_zskd.inputs.shards import cut


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


@pytest.fixture
def written():
    """The impressions of the written shards, by their number."""
    return {}


@pytest.fixture
def make_assembly(written):
    """A function that makes an assembly for some impressions, which notes what is written."""

    def make(count, shard_size, group_size=1, write=None):
        def note(shard, impressions):
            written[shard.number] = impressions

        return ShardAssembly(cut(count, shard_size), group_size, write or note)

    return make


def _pieces(assembly, size):
    return [None if piece is None else list(piece) for piece in assembly.pieces(size)]


def _fill(assembly, finished, size=4):
    for piece in assembly.pieces(size):
        if piece is not None:
            assembly.add(finished(piece))


class TestPieces:
    def test_end_with_each_shard(self, make_assembly):
        expected = [[0, 1], [2, 3], [4], None, [5, 6], [7, 8], [9], None, [10, 11], None]
        assert _pieces(make_assembly(12, 5), 2) == expected

    def test_are_extended_to_whole_groups(self, make_assembly):
        # The second shard ends at 13, and its last group at 16.
        expected = [[0, 1, 2, 3], [4, 5, 6, 7], None, [8, 9, 10, 11], [12, 13, 14, 15], None]
        assert _pieces(make_assembly(13, 8, group_size=4), 4) == expected


class TestAdd:
    @pytest.mark.parametrize("seed", range(3))
    def test_the_order_of_impressions_in_a_shard_does_not_matter(
        self, make_assembly, finished, make_impressions, written, seed
    ):
        assembly = make_assembly(23, 8, group_size=4)
        rng = np.random.default_rng(seed)
        for start, stop in ((0, 8), (8, 16), (16, 24)):
            indices = rng.permutation(np.arange(start, stop))
            for part in np.split(indices, sorted(rng.integers(1, 7, 2))):
                if len(part):
                    assembly.add(finished(part))
        assembly.close()
        assert list(written) == [0, 1, 2]
        expected = make_impressions(0, 23)  # What is beyond the last shard is discarded.
        for name, value in expected.items():
            joined = np.concatenate([written[number][name] for number in range(3)])
            np.testing.assert_array_equal(joined, value)

    def test_an_incomplete_shard_is_not_written(self, make_assembly, finished, written):
        assembly = make_assembly(12, 4)
        assembly.add(finished([0, 1, 2]))
        assembly.add(finished([3]))
        assembly.add(finished([4, 5]))
        assembly.close()
        assert list(written) == [0]


class TestWrites:
    def test_run_in_the_background_until_close(self, make_assembly, finished, written):
        may_write, threads = threading.Event(), set()

        def write_later(shard, impressions):
            assert may_write.wait(30)
            threads.add(threading.current_thread())
            written[shard.number] = impressions

        assembly = make_assembly(8, 4, write=write_later)
        _fill(assembly, finished)
        assert written == {}  # Both shards are passed to the thread.
        may_write.set()
        assembly.close()
        assert list(written) == [0, 1]
        assert threading.main_thread() not in threads
        assert len(threads) == 1  # In sequence, in a separate thread.

    def test_do_not_accumulate_in_memory(self, make_assembly, finished):
        done, most = [], []

        def write_slowly(shard, impressions):
            time.sleep(0.02)
            done.append(shard.number)

        assembly = make_assembly(24, 2, write=write_slowly)
        for number, piece in enumerate(p for p in assembly.pieces(2) if p is not None):
            assembly.add(finished(piece))
            most.append(number + 1 - len(done))
        assembly.close()
        assert 1 < max(most) <= 3
        assert done == list(range(12))

    @pytest.mark.parametrize("kind", [OSError, RuntimeError])
    def test_a_failure_is_raised_at_a_later_add(self, make_assembly, finished, kind):
        def write_never(shard, impressions):
            raise kind("No space left on device")

        made = []
        assembly = make_assembly(400, 4, write=write_never)
        with pytest.raises(kind, match="No space left"):  # noqa: PT012
            for piece in (p for p in assembly.pieces(4) if p is not None):
                made.append(piece)
                assembly.add(finished(piece))
        assert len(made) <= 3  # Stops early.

    def test_a_failure_of_the_last_write_is_raised_by_close(self, make_assembly, finished):
        def write_until_full(shard, impressions):
            if shard.number == 2:
                raise OSError(28, "No space left on device")

        assembly = make_assembly(12, 4, write=write_until_full)
        _fill(assembly, finished)
        with pytest.raises(OSError, match="No space left"):
            assembly.close()
        assembly.close()  # Raised only once; no writes are left.
