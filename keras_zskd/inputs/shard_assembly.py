"""`ShardAssembly`: collects finished impressions, in any order, into shards and writes them."""

import concurrent.futures
import importlib
import threading
from collections.abc import Iterator

import numpy as np

from keras_zskd.inputs.shards import Shard
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter

_FEATURES = ("image", "target", "label", "logits", "gap")


class ShardAssembly:
    """Yields the indices of claimed shards and collects the impressions.

    Shards are written in a separate thread during synthesis.

    Args:
        writer: Writer that claims and writes the shards.
        num_impressions: Number of impressions in the transfer set.
        piece_size: Number of indices per piece.
        group_size: Size of a group. Pieces are extended to whole groups; impressions beyond the
            shard are discarded.
    """

    def __init__(
        self, writer: TransferSetWriter, num_impressions: int, piece_size: int, group_size: int
    ):
        # The writing thread needs this package, which replaces the `__import__` of the process while
        # it is imported: a module that another thread imports at that time would remain incomplete.
        importlib.import_module("tensorflow_datasets")
        self._writer = writer
        self._num_impressions = num_impressions
        self._piece_size = piece_size
        self._group_size = group_size
        self._claimed: dict[int, Shard] = {}
        self._parts: dict[int, dict[str, np.ndarray]] = {}
        self._missing: dict[int, int] = {}
        self._lock = threading.Lock()
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._writes: list[concurrent.futures.Future[None]] = []

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield indices of impressions to make, in whole groups; may run in a separate thread."""
        for shard in self._writer.claim(self._num_impressions):
            with self._lock:
                self._claimed[shard.number] = shard
            stop = shard.start + -(-shard.size // self._group_size) * self._group_size
            for first in range(shard.start, stop, self._piece_size):
                yield np.arange(first, min(first + self._piece_size, stop))

    def add(self, impressions: dict[str, np.ndarray]) -> None:
        """Add finished impressions with their `index`, and write the shards that are complete.

        Raises:
            OSError, tf.errors.OpError: If an earlier write failed.
        """
        numbers = impressions["index"] // self._writer.shard_size
        for number in np.unique(numbers):
            with self._lock:
                shard = self._claimed[int(number)]
            self._fill(shard, {n: v[numbers == number] for n, v in impressions.items()})
        while self._writes and (self._writes[0].done() or len(self._writes) > 2):
            self._writes.pop(0).result()  # Raises the exception of the write.

    def close(self) -> None:
        """Wait until all shards are written.

        Raises:
            OSError, tf.errors.OpError: If a write failed.
        """
        self._pool.shutdown(wait=True)
        while self._writes:
            self._writes.pop(0).result()

    def _fill(self, shard: Shard, impressions: dict[str, np.ndarray]) -> None:
        places = impressions["index"] - shard.start
        kept = places < shard.size
        parts = self._parts.setdefault(
            shard.number,
            {
                name: np.empty((shard.size, *impressions[name].shape[1:]), impressions[name].dtype)
                for name in _FEATURES
            },
        )
        for name, part in parts.items():
            part[places[kept]] = impressions[name][kept]
        missing = self._missing.get(shard.number, shard.size) - int(kept.sum())
        self._missing[shard.number] = missing
        if not missing:
            self._writes.append(
                self._pool.submit(self._writer.write, shard, self._parts.pop(shard.number))
            )
            del self._missing[shard.number]
