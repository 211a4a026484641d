import json
import os
import subprocess
import sys

import numpy as np
import pytest

from keras_zskd.errors import InputError
from keras_zskd.impressions.transfer_set import TransferSet, TransferSetWriter

METADATA = {"input_shape": [4, 4, 1], "input_range": [0.0, 1.0], "num_classes": 3, "seed": 0}


def _impressions(count, start=0):
    rng = np.random.default_rng(start)
    return {
        "image": rng.uniform(size=(count, 4, 4, 1)).astype("float32"),
        "target": rng.dirichlet([1, 1, 1], count).astype("float32"),
        "label": (np.arange(start, start + count) % 3).astype("int64"),
        "logits": rng.normal(size=(count, 3)).astype("float32"),
        "gap": rng.uniform(size=count).astype("float32"),
    }


def _joined(*parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.fixture
def written(tmp_path):
    """A directory with three shards of different sizes, and what they hold."""
    directory = tmp_path / "impressions"
    parts = [_impressions(5), _impressions(3, 5), _impressions(4, 8)]
    for part in parts:
        TransferSetWriter(directory, METADATA).write(part)
    return directory, _joined(*parts)


def _assert_holds(directory, expected):
    arrays = TransferSet(directory).arrays()
    assert set(arrays) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(arrays[name], value)


class TestWriter:
    def test_keeps_order_and_bits_over_shards_and_writers(self, written):
        _assert_holds(*written)

    def test_one_writer_may_write_many_shards(self, tmp_path):
        writer = TransferSetWriter(tmp_path / "a", METADATA)
        counts = []
        parts = [_impressions(2, 2 * i) for i in range(13)]
        for part in parts:
            writer.write(part)
            counts.append(TransferSet(tmp_path / "a").num_impressions)
        assert counts == [2 * (i + 1) for i in range(13)]
        assert writer.num_finished == 26
        _assert_holds(tmp_path / "a", _joined(*parts))

    def test_a_partial_shard_of_a_killed_process_is_not_counted_and_overwritten(self, written):
        directory, expected = written
        # What a killed process leaves: records in the next shard, not named in the metadata.
        tear = """
import os, sys
import numpy as np
import tensorflow_datasets as tfds
from keras_zskd.impressions import transfer_set
directory = sys.argv[1]
metadata = transfer_set.TransferSet(directory).metadata
info = transfer_set._dataset_info(tfds, directory, metadata)
writer = tfds.core.SequentialWriter(info, max_examples_per_shard=50, overwrite=False)
writer.initialize_splits(["train"], fail_if_exists=False)
example = {"image": np.zeros((4, 4, 1), "float32"), "target": np.zeros(3, "float32"),
           "label": 0, "logits": np.zeros(3, "float32"), "gap": np.float32(0)}
writer.add_examples({"train": [example] * 20})
writer._splits["train"].current_shard.writer.flush()
os._exit(9)
"""
        before = {p.name for p in directory.iterdir()}
        result = subprocess.run([sys.executable, "-c", tear, str(directory)], capture_output=True)
        assert result.returncode == 9, result.stderr.decode()
        assert {p.name for p in directory.iterdir()} - before  # Something was left.
        assert TransferSet(directory).num_impressions == 12
        _assert_holds(directory, expected)
        more = _impressions(6, 12)
        writer = TransferSetWriter(directory, METADATA)
        assert writer.num_finished == 12
        writer.write(more)
        _assert_holds(directory, _joined(expected, more))

    def test_other_metadata_is_refused_and_named(self, written):
        directory, expected = written
        with pytest.raises(InputError, match=r"\(seed, steps differ\)"):
            TransferSetWriter(directory, {**METADATA, "seed": 1, "steps": 3})
        _assert_holds(directory, expected)

    def test_a_directory_that_holds_something_else_is_refused(self, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match="holds something else"):
            TransferSetWriter(tmp_path, METADATA)
        assert os.listdir(tmp_path) == ["notes.txt"]

    def test_an_empty_directory_will_do(self, tmp_path):
        TransferSetWriter(tmp_path, METADATA).write(_impressions(2))
        assert TransferSet(tmp_path).num_impressions == 2


class TestTransferSet:
    def test_says_how_it_was_made(self, written):
        made = TransferSet(written[0])
        assert made.metadata == METADATA
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
        # From another directory and without this one on the path.
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

    def test_images_from_to(self, written):
        directory, expected = written
        np.testing.assert_array_equal(TransferSet(directory).images(4, 9), expected["image"][4:9])

    def test_dataset_in_order(self, written):
        directory, expected = written
        batches = list(TransferSet(directory).dataset(5, shuffle=False).as_numpy_iterator())
        assert [len(batch["image"]) for batch in batches] == [5, 5, 2]
        assert set(batches[0]) == {"image", "logits"}
        for name in ("image", "logits"):
            joined = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(joined, expected[name])

    def test_dataset_is_shuffled_anew_each_epoch_and_repeatable(self, written):
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

    def test_dataset_of_nothing_is_refused(self, written):
        with pytest.raises(InputError, match="No impressions between 12 and 12"):
            TransferSet(written[0]).dataset(4, start=12)

    @pytest.mark.parametrize("what", ["missing", "empty", "broken", "other"])
    def test_what_is_no_transfer_set_is_refused(self, tmp_path, what):
        directory = tmp_path / what
        if what != "missing":
            directory.mkdir()
        if what == "broken":
            (directory / "impressions.json").write_text("{")
        if what == "other":
            (directory / "impressions.json").write_text('{"name": "something else"}')
        with pytest.raises(InputError, match="was received as impressions; expected a directory"):
            TransferSet(directory)

    def test_without_a_finished_impression_there_is_nothing_to_read(self, tmp_path):
        TransferSetWriter(tmp_path / "a", METADATA)
        made = TransferSet(tmp_path / "a")
        assert made.num_impressions == 0
        with pytest.raises(InputError, match=r"(?i)no impressions"):
            made.arrays()
