"""The transfer set: impressions on disk, as a plain TFDS dataset directory."""

import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.batching import batches
from keras_zskd.inputs.source import Arrays, num_held_out

SPLIT = "train"
METADATA = "impressions.json"

_READ_AT_ONCE = 1000


class TransferSet:
    """Impressions with their targets, read from a directory.

    The directory is an ordinary TFDS dataset with one split, "train":
    `tfds.builder_from_directory(directory)` reads it without this package. Each example has `image`
    (float32, in the teacher's input range), `target` (the soft label it was optimised toward),
    `label` (the conditioning class), `logits` (what the teacher says of the image) and `gap`
    (cross-entropy less entropy of the target, in nat).

    While workers still write, it is what stood on disk when it was asked: the longest run of
    finished shards from the first.

    Args:
        directory: A directory that `ImpressionGenerator.generate` wrote.

    Attributes:
        directory: The same.
        metadata: How the impressions were made, as plain JSON types.

    Raises:
        InputError: If the directory holds no transfer set.
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = os.fspath(directory)
        try:
            with open(os.path.join(self.directory, METADATA), encoding="utf-8") as file:
                self.metadata: dict[str, Any] = json.load(file)
            self.input_shape: tuple[int, ...] = tuple(self.metadata["input_shape"])
            self.input_range: tuple[float, float] = tuple(self.metadata["input_range"])
            self.num_classes: int = self.metadata["num_classes"]
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.directory!r} was received as impressions; expected a directory written by "
                "ImpressionGenerator.generate or `keras-zskd synthesize`."
            ) from error

    @property
    def num_impressions(self) -> int:
        """How many impressions are finished and on disk."""
        return finished(self.directory)

    def read(self, *names: str) -> tf.data.Dataset:
        """The impressions in order, one by one, as dicts of the named features (default: all)."""
        import tensorflow_datasets as tfds

        if not self.num_impressions:
            raise InputError(
                f"No impressions are finished in {self.directory!r}; run the synthesis again."
            )
        builder = tfds.builder_from_directory(self.directory)
        names = names or tuple(builder.info.features)
        return builder.as_dataset(
            split=SPLIT,
            decoders=tfds.decode.PartialDecoding(dict.fromkeys(names, True)),
            # One shard after the other: the order in which the impressions were made.
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
        """Batches for `Distiller.fit`: dicts of `image` and `logits`.

        Decoded once and kept in memory, as a transfer set is read over and over.

        Args:
            batch_size: Global batch size. A last, smaller batch is kept.
            shuffle: Whether the order changes every epoch.
            seed: Of the order.
            start: First impression.
            stop: One past the last impression; default: all.
        """
        stop = self.num_impressions if stop is None else stop
        if stop - start < 1:
            raise InputError(f"No impressions between {start} and {stop} in {self.directory!r}.")
        arrays = self.part(start, stop, "image", "logits")
        return batches(arrays, batch_size, seed if shuffle else None)

    def split(self) -> tuple[Arrays, np.ndarray]:
        """What a student is trained on, and the images of the last tenth, at most 1,000.

        Returns:
            A source of `{"image", "logits"}`, and images `(N, *input_shape)` that are not in it.
        """
        total = self.num_impressions
        num_seen = total - num_held_out(total)
        seen = Arrays(self.part(0, num_seen, "image", "logits"))
        if num_seen == total:
            return seen, np.empty((0, *self.input_shape), np.float32)
        return seen, self.part(num_seen, total, "image")["image"]

    def arrays(self, limit: int | None = None) -> dict[str, np.ndarray]:
        """All features of the first `limit` impressions (default: all), as arrays."""
        count = self.num_impressions if limit is None else min(limit, self.num_impressions)
        return self.part(0, count)

    def part(self, start: int, stop: int, *names: str) -> dict[str, np.ndarray]:
        """The named features (default: all) from `start` to `stop`, as arrays."""
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
    """Number of impressions in the complete shards of a directory; 0 where there are none."""
    return sum(shard_lengths(directory))


def shard_lengths(directory: str) -> list[int]:
    """Impressions in each shard that dataset_info.json names: the longest run of finished ones."""
    try:
        with open(os.path.join(directory, "dataset_info.json"), encoding="utf-8") as file:
            (split,) = json.load(file)["splits"]
    except FileNotFoundError:
        return []
    return [int(length) for length in split.get("shardLengths", ())]
