"""A tiny suite: bright and dark stripes in a file, a teacher that learned them, two rows."""

import keras
import numpy as np
import pytest

from keras_zskd.benchmark.results import Results
from keras_zskd.benchmark.suite import Pair, Row, Suite

CROSS_ENTROPY = "keras_zskd.benchmark.cross_entropy:CrossEntropy"


def stripes(count, seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    images = 0.3 * random.random((count, 8, 8, 1))
    images[labels == 1, ::2] += 0.6
    images[labels == 0, :, ::2] += 0.6
    return images.astype("float32"), labels


@pytest.fixture
def result():
    """The function `make_result`."""
    return make_result


def make_result(row, seed=0, accuracy=0.9, **more):
    """The contents of a results file."""
    return {
        "row": row, "seed": seed, "budget": 1e3, "agreement": 0.8, "predictive_kl": 0.5, "ece": 0.1,
        "accuracy": {"teacher": 0.99, "last": accuracy, "best": 0.95, "last_fifth": 0.91},
        "diversity": {"nearest_distance": 0.1, "effective_rank": 3.5}, "inputs": 1_000,
        "forwards": 2e6, "seconds": 12.0, "peak_memory": 1.5e9, "hardware": "a machine",
        "versions": {"keras": "3"}, "curve": [[5e5, 0.5], [2e6, accuracy]], **more,
    }  # fmt: skip


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "stripes.npz"
    train, test = stripes(200, 0), stripes(100, 1)
    np.savez(path, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    common = {"pair": "half", "seeds": 2}
    return Suite(
        name="tiny", title="Stripes", dataset=str(path), budget=5_000, minutes=0.1, teachers={},
        pairs={"half": Pair(title="tiny to half", teacher="tiny", student=0.5, published=99.5)},
        rows=(
            Row(name="zskd-half", title="DI", method="zskd", published=98.0, **common,
                settings={"synthesis_steps": 3, "epochs": 4, "batch_size": 16}),
            Row(name="student_ce-half", title="Student-CE", method=CROSS_ENTROPY, **common,
                data=str(path), settings={"batch_size": 16}),
            Row(name="later-half", title="a later method", method="not_there", tier=3, **common),
        ),
    )  # fmt: skip


@pytest.fixture
def results(suite, tmp_path):
    """Results without any, with a teacher that has learned the stripes."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(2),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(*stripes(200, 0), epochs=8, verbose=0)
    results = Results(tmp_path / "results", suite)
    results.directory.mkdir()
    model.save(results.teacher_path("tiny"))
    return results
