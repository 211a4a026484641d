"""`TransferSetWriter`: the index of a transfer set, and the shards that are missing."""

import json
import os
import time
from typing import Any

import tensorflow as tf

from keras_zskd.core import objects
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.inputs.shards import Shard, cut, finished_sizes, withdraw
from keras_zskd.inputs.tfds_files import write_info
from keras_zskd.inputs.transfer_set import METADATA, TransferSet, shard_lengths

# Seconds between two versions of the index. Its length grows with the number of shards, so writing
# it after every shard would take quadratic time.
_INDEX_EVERY = 10.0


class TransferSetWriter:
    """Keeps the index of a transfer set whose shards may be written by any number of processes.

    Shard k has impressions `k * shard_size` to `(k + 1) * shard_size` (exclusive). The index,
    dataset_info.json, lists the finished shards up to the first unfinished one, so that TFDS can
    read the directory at any time. Only this object writes it, and not after every shard: the marks
    of the shards tell which are finished (see `shards.py`).

    Args:
        directory: Output directory, created if missing. An existing one must be empty or a transfer
            set. A local path, or a remote one such as `gs://bucket/impressions` (`tf.io.gfile`).
        metadata: Settings of the synthesis. Must equal those of an existing transfer set.
        shard_size: Number of impressions per shard in a new directory, 1 or more. An existing
            transfer set keeps its own.

    Attributes:
        directory: The directory, as an absolute path.
        shard_size: Shard size of the directory.

    Raises:
        InputError: If an argument is invalid, or the directory holds something else, impressions
            with other settings, or impressions of a version without equal shards.
    """

    def __init__(
        self, directory: str | os.PathLike[str], metadata: dict[str, Any], shard_size: int
    ):
        # Before any thread starts: while TFDS is imported, it replaces `import` for all threads.
        import tensorflow_datasets  # noqa: F401

        if shard_size < 1:
            raise invalid("shard_size", "be 1 or more", shard_size)
        self.directory = objects.absolute(directory)
        metadata = json.loads(json.dumps(metadata))
        self._begin({**metadata, "shard_size": shard_size})
        self.shard_size = self._agree(metadata)
        self._metadata = metadata
        tf.io.gfile.makedirs(os.path.join(self.directory, "shards"))
        self._sizes = finished_sizes(self.directory)
        self._listed = float("-inf")

    @property
    def num_finished(self) -> int:
        """Number of impressions in finished shards, listed or not."""
        return sum(list(self._sizes.values()))

    def unfinished(self, num_impressions: int) -> list[Shard]:
        """Return the shards to make until the directory holds `num_impressions` impressions.

        If an earlier call left a short last shard that must grow, it is withdrawn and made again.

        Raises:
            InputError: If there are more shards than TFDS supports.
        """
        shards = cut(num_impressions, self.shard_size)
        missing = [shard for shard in shards if self._sizes.get(shard.number, 0) < shard.size]
        short = [shard.number for shard in missing if shard.number in self._sizes]
        sizes = {number: self._sizes.pop(number) for number in short}
        self.publish()  # First, since the index must not list what is about to be replaced.
        for number, size in sizes.items():
            withdraw(self.directory, number, size)
        return missing

    def finish(self, shard: Shard) -> None:
        """Record that a shard is written and marked, and update the index from time to time."""
        self._sizes[shard.number] = shard.size
        if time.monotonic() - self._listed > _INDEX_EVERY:
            self.publish()

    def publish(self) -> None:
        """List the finished shards up to the first unfinished one in the index."""
        lengths: list[int] = []
        # Nothing may follow a short shard, since the next one starts at full size.
        while (size := self._sizes.get(len(lengths))) and lengths[-1:] in ([], [self.shard_size]):
            lengths.append(size)
        if lengths != shard_lengths(self.directory):
            write_info(self.directory, self._metadata, lengths)
        self._listed = time.monotonic()

    def _begin(self, metadata: dict[str, Any]) -> None:
        """Make the directory a transfer set, unless it already is one."""
        path = os.path.join(self.directory, METADATA)
        if tf.io.gfile.exists(path):
            return
        if tf.io.gfile.exists(self.directory) and (
            not tf.io.gfile.isdir(self.directory) or tf.io.gfile.listdir(self.directory)
        ):
            raise InputError(
                "`directory` must be new, empty or a transfer set. Received: "
                f"directory={self.directory!r}, which holds something else."
            )
        tf.io.gfile.makedirs(self.directory)
        objects.write_text(path, json.dumps(metadata, indent=1))

    def _agree(self, metadata: dict[str, Any]) -> int:
        """Check `metadata` against the existing directory, and return its shard size."""
        found = dict(TransferSet(self.directory).metadata)
        shard_size = found.pop("shard_size", None)
        changed = sorted(k for k in {*found, *metadata} if found.get(k) != metadata.get(k))
        if changed:
            raise InputError(
                "`directory` must hold impressions with the same settings. Received: "
                f"directory={self.directory!r}, made in another way ({', '.join(changed)} differ). "
                "Choose another directory, or remove this one."
            )
        if shard_size is None:
            raise InputError(
                "`directory` must have shards of equal size. Received: "
                f"directory={self.directory!r} of an older version, which can be read but not "
                "extended. Choose another directory."
            )
        return int(shard_size)
