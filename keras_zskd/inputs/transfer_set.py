"""`TransferSet`: impressions on disk, as an ordinary TFDS dataset directory."""

import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core import objects
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.input_range import read_range
from keras_zskd.inputs.batching import batches
from keras_zskd.inputs.source import Arrays, num_held_out

SPLIT = "train"
METADATA = "impressions.json"

_READ_AT_ONCE = 1000


class TransferSet:
    """Impressions with their targets, read from a directory.

    The directory is an ordinary TFDS dataset with one split, "train", and
    `tfds.builder_from_directory(directory)` reads it without this package. Each example has `image`
    (float32, in the teacher's input range), `target` (the soft label of the synthesis), `label`
    (the conditioning class), `logits` (the teacher's logits) and `gap` (cross-entropy minus entropy
    of the target, in nats).

    During the synthesis, only the finished shards up to the first unfinished one are read.

    Args:
        directory: A directory written by `ImpressionGenerator.generate`.

    Attributes:
        directory: Path of the directory.
        metadata: Settings of the synthesis, as plain JSON types.

    Raises:
        InputError: If the directory is not a transfer set.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = os.fspath(directory)
        try:
            text = objects.read_text(os.path.join(self.directory, METADATA))
            self.metadata: dict[str, Any] = json.loads(text)
            self.input_shape: tuple[int, ...] = tuple(self.metadata["input_shape"])
            self.input_range = read_range(self.metadata["input_range"], self.input_shape)
            self.num_classes: int = self.metadata["num_classes"]
        except (tf.errors.OpError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise invalid(
                "directory",
                "be a directory of impressions written by ImpressionGenerator.generate",
                self.directory,
            ) from error

    @property
    def num_impressions(self) -> int:
        """Number of finished impressions."""
        return finished(self.directory)

    def read(self, *names: str) -> tf.data.Dataset:
        """Read single impressions in order, as dicts of the named features (default: all)."""
        import tensorflow_datasets as tfds

        if not self.num_impressions:
            raise InputError(
                "`directory` must hold finished impressions. Received: "
                f"directory={self.directory!r} with no impressions. Run the synthesis again."
            )
        builder = tfds.builder_from_directory(self.directory)
        names = names or tuple(builder.info.features)
        return builder.as_dataset(
            split=SPLIT,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(names, True)),
            # Shards in sequence, to keep the order of the impressions.
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )

    def dataset(
        self,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        start: int = 0,
        stop: int | None = None,
    ) -> tf.data.Dataset:
        """Return batches for `Distiller.fit`: dicts of `image` and `logits`.

        The impressions are decoded once and kept in memory, since they are read repeatedly.

        Args:
            batch_size: Global batch size. A smaller last batch is kept.
            shuffle: Whether to shuffle in every epoch.
            seed: Seed of the order.
            start: Index of the first impression.
            stop: Index after the last impression. Defaults to all.
        """
        stop = self.num_impressions if stop is None else stop
        if stop - start < 1:
            raise InputError(
                f"`start` must be below `stop`. Received: start={start}, stop={stop} for "
                f"{self.directory!r}."
            )
        arrays = self.part(start, stop, "image", "logits")
        return batches(arrays, batch_size, seed if shuffle else None)

    def split(self) -> tuple[Arrays, np.ndarray]:
        """Split into training impressions and held-out images: the last tenth, at most 1,000.

        Returns:
            A source of `{"image", "logits"}`, and the held-out images `(N, *input_shape)`.
        """
        total = self.num_impressions
        num_seen = total - num_held_out(total)
        seen = Arrays(self.part(0, num_seen, "image", "logits"))
        if num_seen == total:
            return seen, np.empty((0, *self.input_shape), np.float32)
        return seen, self.part(num_seen, total, "image")["image"]

    def arrays(self, limit: int | None = None) -> dict[str, np.ndarray]:
        """Read all features of the first `limit` impressions (default: all) as arrays."""
        count = self.num_impressions if limit is None else min(limit, self.num_impressions)
        return self.part(0, count)

    def part(self, start: int, stop: int, *names: str) -> dict[str, np.ndarray]:
        """Read the named features (default: all) from `start` to `stop` as arrays."""
        data = self.read(*names).skip(start).take(stop - start).batch(_READ_AT_ONCE)
        held: dict[str, np.ndarray] = {}
        filled = 0
        for batch in data.as_numpy_iterator():
            for name, part in batch.items():
                if name not in held:
                    held[name] = np.empty((stop - start, *part.shape[1:]), part.dtype)
                held[name][filled : filled + len(part)] = part
            filled += len(part)
        return held


def finished(directory: str) -> int:
    """Return the number of impressions in the complete shards of a directory."""
    return sum(shard_lengths(directory))


def shard_lengths(directory: str) -> list[int]:
    """Return the number of impressions in each shard listed in dataset_info.json."""
    try:
        text = objects.read_text(os.path.join(directory, "dataset_info.json"))
        (split,) = json.loads(text)["splits"]
    except (tf.errors.NotFoundError, json.JSONDecodeError):  # Missing, or being written.
        return []
    return [int(length) for length in split.get("shardLengths", ())]
