"""The transfer set: impressions on disk, as a plain TFDS dataset directory."""

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_zskd.errors import InputError

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

_NAME = "impressions"
_SPLIT = "train"
_METADATA = "impressions.json"


class TransferSet:
    """Impressions with their targets, read from a directory.

    The directory is an ordinary TFDS dataset with one split, "train":
    `tfds.builder_from_directory(directory)` reads it without this package. Each example has `image`
    (float32, in the teacher's input range), `target` (the soft label it was optimised toward),
    `label` (the conditioning class), `logits` (what the teacher says of the image) and `gap`
    (cross-entropy less entropy of the target, in nat).

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
            with open(os.path.join(self.directory, _METADATA), encoding="utf-8") as file:
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
            split=_SPLIT,
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
        data = self.read("image", "logits").skip(start).take(stop - start)
        data = data.apply(tf.data.experimental.assert_cardinality(stop - start)).cache()
        if shuffle:
            data = data.shuffle(min(stop - start, 100_000), seed=seed)
        return data.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def images(self, start: int, stop: int) -> np.ndarray:
        """Images of the impressions from `start` to `stop`, `(stop - start, *input_shape)`."""
        data = self.read("image").skip(start).take(stop - start).batch(stop - start)
        return np.asarray(next(iter(data))["image"])

    def arrays(self, limit: int | None = None) -> dict[str, np.ndarray]:
        """All features of the first `limit` impressions (default: all), as arrays."""
        count = self.num_impressions if limit is None else min(limit, self.num_impressions)
        batch = next(iter(self.read().take(count).batch(max(count, 1))))
        return {name: value.numpy() for name, value in batch.items()}


def finished(directory: str) -> int:
    """Number of impressions in the complete shards of a directory; 0 where there are none."""
    import tensorflow_datasets as tfds

    if not os.path.exists(os.path.join(directory, "dataset_info.json")):
        return 0
    return int(tfds.builder_from_directory(directory).info.splits[_SPLIT].num_examples)


class TransferSetWriter:
    """Appends impressions to a directory, one complete shard at a time.

    A shard that was not completed, because the process died, is not counted and is overwritten, so
    what is on disk is always a valid dataset.

    Args:
        directory: Made if missing. A directory that holds something else is refused.
        metadata: How the impressions are made; must equal what a standing directory says.

    Raises:
        InputError: If the directory holds something else, or impressions made in another way.
    """

    def __init__(self, directory: str | os.PathLike[str], metadata: dict[str, Any]):
        self.directory = os.fspath(directory)
        path = os.path.join(self.directory, _METADATA)
        metadata = json.loads(json.dumps(metadata))
        if os.path.exists(path):
            standing = TransferSet(self.directory).metadata
            changed = sorted(
                k for k in {*standing, *metadata} if standing.get(k) != metadata.get(k)
            )
            if changed:
                raise InputError(
                    f"{self.directory!r} holds impressions made in another way ({', '.join(changed)} "
                    "differ); choose another directory, or remove this one."
                )
        elif os.path.lexists(self.directory) and (
            not os.path.isdir(self.directory) or os.listdir(self.directory)
        ):
            raise InputError(
                f"The output directory {self.directory!r} holds something else; choose an empty or a "
                "new one."
            )
        os.makedirs(self.directory, exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(metadata, file, indent=1)
        self._metadata = metadata
        self.num_finished = finished(self.directory)

    def write(self, impressions: dict[str, np.ndarray]) -> None:
        """Write one shard, completely.

        Args:
            impressions: `image`, `target`, `label`, `logits` and `gap`, each `(N, ...)`.
        """
        import tensorflow_datasets as tfds

        count = len(impressions["image"])
        # A writer per shard: it closes the shard at its size, and only then says so in the metadata.
        info = _dataset_info(tfds, self.directory, self._metadata)
        names = ("image", "target", "label", "logits", "gap")
        examples = [{name: impressions[name][i] for name in names} for i in range(count)]
        standing = set(os.listdir(self.directory))
        try:
            writer = tfds.core.SequentialWriter(info, max_examples_per_shard=count, overwrite=False)
            writer.initialize_splits([_SPLIT], fail_if_exists=False)
            writer.add_examples({_SPLIT: examples})
            writer.close_all()
        except (OSError, tf.errors.OpError):
            for name in set(os.listdir(self.directory)) - standing:
                os.remove(os.path.join(self.directory, name))
            raise
        self.num_finished += count


def _dataset_info(tfds: Any, directory: str, metadata: dict[str, Any]) -> "tfds.core.DatasetInfo":
    k = metadata["num_classes"]
    vector = tfds.features.Tensor(shape=(k,), dtype=np.float32)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(
                shape=tuple(metadata["input_shape"]),
                dtype=np.float32,
                encoding=tfds.features.Encoding.ZLIB,
            ),
            "target": vector,
            "label": tfds.features.ClassLabel(num_classes=k),
            "logits": vector,
            "gap": tfds.features.Scalar(dtype=np.float32),
        }
    )
    return tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=_NAME, version=tfds.core.Version("1.0.0"), data_dir=directory, module_name=__name__
        ),
        description="Impressions: inputs synthesised from a trained classifier, without data.",
        features=features,
        supervised_keys=("image", "label"),
    )
