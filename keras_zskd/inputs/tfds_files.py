"""The files of a TFDS dataset: records and dataset description."""

import os
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core import objects
from keras_zskd.inputs.transfer_set import SPLIT

_NAME = "impressions"
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"


def records_path(directory: str, number: int) -> str:
    """Return the path of the records of shard `number` in TFDS."""
    return os.path.join(directory, f"{_NAME}-{SPLIT}.tfrecord-{number:05d}")


def write_records(path: str, impressions: dict[str, np.ndarray]) -> None:
    """Write impressions in the format of TFDS.

    The serializer of TFDS makes the same records, at a quarter of the speed.

    Args:
        path: Path of the file.
        impressions: `image`, `target`, `label`, `logits` and `gap`, each `(N, ...)`.
    """
    vectors = {
        name: np.ascontiguousarray(impressions[name], np.float32)
        for name in ("image", "target", "logits")
    }
    example = tf.train.Example()
    feature = example.features.feature
    with tf.io.TFRecordWriter(path) as writer:
        for i in range(len(vectors["image"])):
            for name, values in vectors.items():
                feature[name].bytes_list.value[:] = [values[i].tobytes()]
            feature["label"].int64_list.value[:] = [int(impressions["label"][i])]
            feature["gap"].float_list.value[:] = [float(impressions["gap"][i])]
            writer.write(example.SerializeToString(deterministic=True))


def write_info(directory: str, metadata: dict[str, Any], lengths: list[int]) -> None:
    """Write dataset_info.json, and features.json if missing.

    Args:
        directory: Directory of the transfer set.
        metadata: Metadata with `input_shape` and `num_classes`.
        lengths: Number of impressions in each shard, from the first. The files must exist.
    """
    import tensorflow_datasets as tfds

    info = _dataset_info(tfds, directory, metadata)
    info.set_file_format("tfrecord")
    template = tfds.core.ShardedFileTemplate(
        data_dir=directory,
        template=_TEMPLATE,
        dataset_name=_NAME,
        split=SPLIT,
        filetype_suffix="tfrecord",
    )
    num_bytes = _num_bytes(directory, lengths)
    split = tfds.core.SplitInfo(SPLIT, lengths, num_bytes, template)
    info.set_splits(tfds.core.splits.SplitDict([split]))
    features = os.path.join(directory, "features.json")
    if not tf.io.gfile.exists(features):
        with tempfile.TemporaryDirectory() as temporary:
            info.features.save_config(temporary)
            objects.write_text(
                features, objects.read_text(os.path.join(temporary, "features.json"))
            )
    objects.write_text(os.path.join(directory, "dataset_info.json"), info.as_json)


def _num_bytes(directory: str, lengths: list[int]) -> int:
    """Estimate the bytes of all records, without 16 bytes of framing each, from the first shard."""
    # All impressions have the same number of bytes (to within one byte for 128 classes or more).
    if not lengths:
        return 0
    framed = tf.io.gfile.stat(records_path(directory, 0)).length
    return round((framed / lengths[0] - 16) * sum(lengths))


def _dataset_info(tfds: Any, directory: str, metadata: dict[str, Any]) -> Any:
    # Not compressed, since noise hardly compresses: zlib makes 1,000 impressions of 32x32x1 only
    # 14% smaller and takes ten times as long. Lists of numbers would take even longer.
    raw = {"dtype": np.float32, "encoding": tfds.features.Encoding.BYTES}
    k = metadata["num_classes"]
    vector = tfds.features.Tensor(shape=(k,), **raw)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Tensor(shape=tuple(metadata["input_shape"]), **raw),
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
        description="Impressions: inputs synthesized from a trained classifier, without data.",
        features=features,
        supervised_keys=("image", "label"),
    )
