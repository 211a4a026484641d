"""Shards of a transfer set: where they begin, and which are finished.

The records of shard 42 are one file, written once. Then a second file, named
`shards/00042-1000.json`, marks them as complete, so one listing tells what is finished. Nothing is
renamed or created exclusively: two processes that make the same shard write the same bytes.
"""

import dataclasses
import json
import os
import re

import numpy as np
import tensorflow as tf

from keras_zskd.core import objects
from keras_zskd.core.errors import InputError
from keras_zskd.inputs.tfds_files import records_path, write_records

# TFDS uses 5 digits for up to 99,999 shards, and 6 for more: one more would rename all others.
MAX_SHARDS = 99_999

_FINISHED = re.compile(r"(\d{5})-(\d+)\.json")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `number` of a transfer set: impressions `start` to `stop` (exclusive)."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of impressions."""
        return self.stop - self.start


def cut(num_impressions: int, shard_size: int) -> list[Shard]:
    """Cut `num_impressions` impressions into shards of `shard_size`; the last may be shorter.

    Raises:
        InputError: If there are more shards than TFDS supports.
    """
    count = -(-num_impressions // shard_size)
    if count > MAX_SHARDS:
        raise InputError(
            f"`num_impressions` must fit in {MAX_SHARDS} shards. Received: "
            f"num_impressions={num_impressions} in {count} shards of {shard_size}. Use several "
            "directories, or a new directory with larger shards."
        )
    starts = range(0, num_impressions, shard_size)
    return [
        Shard(number, start, min(start + shard_size, num_impressions))
        for number, start in enumerate(starts)
    ]


def write_shard(directory: str, shard: Shard, impressions: dict[str, np.ndarray]) -> None:
    """Write the records of a shard and mark it as finished.

    Args:
        directory: Directory of the transfer set, which its writer has created.
        shard: The shard.
        impressions: `image`, `target`, `label`, `logits` and `gap`, each `(shard.size, ...)`.

    Raises:
        ValueError: If the number of impressions is not the size of the shard.
        OSError, tf.errors.OpError: If writing fails, for example if the disk is full. The shard is
            then unfinished.
    """
    if len(impressions["image"]) != shard.size:
        raise ValueError(
            f"`impressions` must have {shard.size} examples for shard {shard.number}, from "
            f"{shard.start} to {shard.stop}. Received: {len(impressions['image'])} examples."
        )
    mark = _mark(directory, shard.number, shard.size)
    if tf.io.gfile.exists(mark):  # Written by a process that was believed dead.
        return
    path = records_path(directory, shard.number)
    write_records(path, impressions)
    objects.settle(path)
    with tf.io.gfile.GFile(mark, "w") as file:
        file.write(json.dumps(dataclasses.asdict(shard)))


def finished_sizes(directory: str) -> dict[int, int]:
    """Return the number of impressions in each finished shard, by its number."""
    sizes: dict[int, int] = {}
    for name in tf.io.gfile.listdir(os.path.join(directory, "shards")):
        if match := _FINISHED.fullmatch(name):
            number, size = map(int, match.groups())
            sizes[number] = max(size, sizes.get(number, 0))
    return sizes


def withdraw(directory: str, number: int, size: int) -> None:
    """Remove the mark that shard `number` is finished with `size` impressions."""
    tf.io.gfile.remove(_mark(directory, number, size))


def _mark(directory: str, number: int, size: int) -> str:
    return os.path.join(directory, "shards", f"{number:05d}-{size}.json")
