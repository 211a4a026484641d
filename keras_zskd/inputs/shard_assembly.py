"""`ShardAssembly`: collects the impressions of one shard after another, and writes them."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from keras_zskd.inputs.shards import Shard

_FEATURES = ("image", "target", "label", "logits", "gap")


class ShardAssembly:
    """Yields the indices of the impressions of shards, and collects the impressions.

    A shard is complete before any impression of the next one arrives. It is written in a separate
    thread, during the synthesis of the next one.

    Args:
        shards: The shards to make, in this order.
        group_size: Size of a group. A shard is extended to whole groups; impressions beyond its end
            are discarded.
        write: Called with each shard and its impressions.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        group_size: int,
        write: Callable[[Shard, dict[str, np.ndarray]], None],
    ):
        self._shards = shards
        self._group_size = group_size
        self._write = write
        self._missing = collections.deque((shard, self._whole(shard)) for shard in shards)
        self._parts: list[dict[str, np.ndarray]] = []
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._writes: list[concurrent.futures.Future[None]] = []

    def pieces(self, size: int) -> Iterator[np.ndarray | None]:
        """Yield indices in whole groups, `size` at a time, and None after each shard."""
        for shard in self._shards:
            stop = shard.start + self._whole(shard)
            for first in range(shard.start, stop, size):
                yield np.arange(first, min(first + size, stop))
            yield None

    def add(self, impressions: dict[str, np.ndarray]) -> None:
        """Add finished impressions of the current shard with their `index`.

        Raises:
            OSError, tf.errors.OpError: If an earlier write failed.
        """
        self._parts.append({name: impressions[name] for name in ("index", *_FEATURES)})
        shard, whole = self._missing[0]
        if sum(len(part["index"]) for part in self._parts) == whole:
            self._missing.popleft()
            parts, self._parts = self._parts, []
            self._writes.append(self._pool.submit(self._write, shard, _in_order(parts, shard.size)))
        while self._writes and (self._writes[0].done() or len(self._writes) > 2):
            self._writes.pop(0).result()  # Raises the exception of the write.

    def close(self) -> None:
        """Wait until all complete shards are written.

        Raises:
            OSError, tf.errors.OpError: If a write failed.
        """
        self._pool.shutdown(wait=True)
        while self._writes:
            self._writes.pop(0).result()

    def _whole(self, shard: Shard) -> int:
        return -(-shard.size // self._group_size) * self._group_size


def _in_order(parts: list[dict[str, np.ndarray]], size: int) -> dict[str, np.ndarray]:
    """Return the first `size` impressions, in the order of their indices."""
    order = np.argsort(np.concatenate([part["index"] for part in parts]))[:size]
    return {name: np.concatenate([part[name] for part in parts])[order] for name in _FEATURES}
