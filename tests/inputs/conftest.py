"""Fixtures for shards of random impressions."""

import numpy as np
import pytest

from keras_zskd.inputs.shards import write_shard
from keras_zskd.inputs.transfer_set import TransferSet


@pytest.fixture
def metadata():
    """Metadata for the impressions of `make_impressions`."""
    return {"input_shape": [4, 4, 1], "input_range": [0.0, 1.0], "num_classes": 3, "seed": 0}


@pytest.fixture
def make_impressions():
    """A function that makes impressions `start` to `stop`; each depends only on its index."""

    def make(start, stop):
        parts = []
        for index in range(start, stop):
            rng = np.random.default_rng(index)
            parts.append(
                {
                    "image": rng.uniform(size=(4, 4, 1)).astype("float32"),
                    "target": rng.dirichlet([1, 1, 1]).astype("float32"),
                    "label": np.int64(index % 3),
                    "logits": rng.normal(size=3).astype("float32"),
                    "gap": np.float32(rng.uniform()),
                }
            )
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    return make


@pytest.fixture
def fill(make_impressions):
    """A function that makes what is missing in the directory of a writer; returns the numbers."""

    def fill(writer, num_impressions):
        shards = writer.unfinished(num_impressions)
        for shard in shards:
            write_shard(writer.directory, shard, make_impressions(shard.start, shard.stop))
            writer.finish(shard)
        writer.publish()
        return [shard.number for shard in shards]

    return fill


@pytest.fixture
def assert_holds(make_impressions):
    """A function that checks that a directory holds the first `num_impressions` impressions."""

    def check(directory, num_impressions):
        made = TransferSet(directory)
        assert made.num_impressions == num_impressions
        expected = make_impressions(0, num_impressions)
        arrays = made.arrays()
        assert set(arrays) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(arrays[name], value)

    return check
