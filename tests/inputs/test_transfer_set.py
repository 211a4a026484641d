import json
import os
import subprocess
import sys

import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.inputs.transfer_set_writer import TransferSetWriter


@pytest.fixture
def written(tmp_path, metadata, fill, make_impressions):
    """A directory with three shards, the last one short, and their impressions."""
    fill(TransferSetWriter(tmp_path / "impressions", metadata, 5), 12)
    return tmp_path / "impressions", make_impressions(0, 12)


class TestTransferSet:
    def test_metadata(self, written, metadata):
        made = TransferSet(written[0])
        assert made.metadata == {**metadata, "shard_size": 5}
        assert made.input_shape == (4, 4, 1)
        assert made.input_range == (0.0, 1.0)
        assert made.num_classes == 3
        assert made.num_impressions == 12

    def test_opens_in_a_process_without_this_package(self, written):
        directory, expected = written
        read = """
import json, sys
import tensorflow_datasets as tfds
builder = tfds.builder_from_directory(sys.argv[1])
examples = list(tfds.as_numpy(builder.as_dataset(
    split="train", read_config=tfds.ReadConfig(interleave_cycle_length=1))))
assert not [name for name in sys.modules if name.startswith("keras_zskd")]
print(json.dumps({
    "count": builder.info.splits["train"].num_examples,
    "classes": builder.info.features["label"].num_classes,
    "features": sorted(builder.info.features),
    "labels": [int(e["label"]) for e in examples],
    "sums": [float(e["image"].sum()) for e in examples],
}))
"""
        # From another directory, and without this one on the path.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        result = subprocess.run(
            [sys.executable, "-c", read, str(directory)],
            capture_output=True, text=True, cwd=directory, env=environment,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        said = json.loads(result.stdout.splitlines()[-1])
        assert said["count"] == 12
        assert said["classes"] == 3
        assert said["features"] == ["gap", "image", "label", "logits", "target"]
        assert said["labels"] == expected["label"].tolist()
        np.testing.assert_allclose(said["sums"], expected["image"].sum((1, 2, 3)), rtol=1e-5)

    def test_arrays_up_to_a_limit(self, written):
        directory, expected = written
        np.testing.assert_array_equal(
            TransferSet(directory).arrays(limit=7)["image"], expected["image"][:7]
        )
        assert len(TransferSet(directory).arrays(limit=100)["image"]) == 12

    def test_a_part_of_some_features(self, written):
        directory, expected = written
        part = TransferSet(directory).part(4, 9, "image")
        assert set(part) == {"image"}
        np.testing.assert_array_equal(part["image"], expected["image"][4:9])

    def test_a_tenth_is_held_out(self, written):
        directory, expected = written
        seen, held_out = TransferSet(directory).split()
        assert set(seen.arrays) == {"image", "logits"}
        np.testing.assert_array_equal(seen.images(100), expected["image"][:11])
        np.testing.assert_array_equal(held_out, expected["image"][11:])

    def test_dataset_in_order(self, written):
        directory, expected = written
        batches = list(TransferSet(directory).dataset(5, shuffle=False).as_numpy_iterator())
        assert [len(batch["image"]) for batch in batches] == [5, 5, 2]
        assert set(batches[0]) == {"image", "logits"}
        for name in ("image", "logits"):
            joined = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(joined, expected[name])

    def test_dataset_is_shuffled_each_epoch_and_reproducible(self, written):
        directory, expected = written

        def epochs(seed):
            data = TransferSet(directory).dataset(12, seed=seed)
            return [next(iter(data))["image"].numpy() for _ in range(2)]

        first, second = epochs(0)
        assert not np.array_equal(first, second)
        order = np.lexsort(first.reshape(12, -1).T)
        reference = np.lexsort(expected["image"].reshape(12, -1).T)
        np.testing.assert_array_equal(first[order], expected["image"][reference])
        np.testing.assert_array_equal(epochs(0)[0], first)
        assert not np.array_equal(epochs(1)[0], first)

    def test_dataset_of_a_part(self, written):
        directory, expected = written
        data = TransferSet(directory).dataset(100, shuffle=False, start=3, stop=8)
        np.testing.assert_array_equal(next(iter(data))["logits"], expected["logits"][3:8])
        assert int(data.cardinality()) == 1

    def test_empty_dataset_raises(self, written):
        with pytest.raises(InputError, match="start=12, stop=12"):
            TransferSet(written[0]).dataset(4, start=12)

    @pytest.mark.parametrize("what", ["missing", "empty", "broken", "other"])
    def test_other_directories_raise(self, tmp_path, what):
        directory = tmp_path / what
        if what != "missing":
            directory.mkdir()
        if what == "broken":
            (directory / "impressions.json").write_text("{")
        if what == "other":
            (directory / "impressions.json").write_text('{"name": "something else"}')
        with pytest.raises(InputError, match="must be a directory of impressions"):
            TransferSet(directory)

    def test_a_transfer_set_without_finished_impressions_raises(self, tmp_path, metadata):
        TransferSetWriter(tmp_path / "a", metadata, 5)
        made = TransferSet(tmp_path / "a")
        assert made.num_impressions == 0
        with pytest.raises(InputError, match=r"(?i)no impressions"):
            made.arrays()
