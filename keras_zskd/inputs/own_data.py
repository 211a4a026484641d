"""The user's own labeled images: a folder, an .npz file, arrays, or a `tf.data.Dataset`."""

import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.own_labels import as_array, read_labels

Data = str | os.PathLike[str] | tuple[np.ndarray, np.ndarray] | tf.data.Dataset
"""What `dataset=` takes: a TFDS name or one of these."""

_Read = TypeVar("_Read")
_FORMS = (
    "a TFDS name, the path of a folder with one subfolder of images per class (such as ./images), the "
    "path of an .npz file, a pair of arrays (images, labels), or a tf.data.Dataset of such pairs"
)


class OwnData(NamedTuple):
    """Examples, and the range of their values.

    Attributes:
        source: Pairs of one image and its class.
        is_ready: Whether values are already in the range of the model, as in float arrays.
        has_raw_labels: Whether labels must pass `read_labels` when all of them have been read.
        files: The files of images from a folder.
    """

    source: tf.data.Dataset
    is_ready: bool
    has_raw_labels: bool = False
    files: tuple[str, ...] = ()


def name_of(data: Any) -> str | None:
    """Return a name for records and tables, or None if there is no data."""
    if data is None or isinstance(data, str):
        return data
    return os.fspath(data) if isinstance(data, os.PathLike) else "the given images"


def fingerprint_of(data: Any) -> str | None:
    """Return a checksum of arrays, which have no name that would identify them, else None."""
    if not isinstance(data, (tuple, list)):
        return None
    parts = [as_array(part, "images and labels") for part in data]
    checksum = 0
    for part in parts:
        if part.dtype.kind in "uifb":  # Reading the data reports any other.
            checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
    return f"{checksum:08x}"


def has_splits(data: Any) -> bool:
    """Whether data has a training and a test split; arrays and a `tf.data.Dataset` do not."""
    if not isinstance(data, (str, os.PathLike)):
        return False
    path = os.fspath(data)
    if path.endswith(".npz") and os.path.exists(path):
        return {"x_train", "x_test"} <= _read_npz(path, set)
    if (folder := _folder_of(data)) is not None:
        return all((folder / split).is_dir() for split in ("train", "test"))
    return True


def open_own(data: Any, split: str, image_shape: tuple[int, ...]) -> OwnData | None:
    """Open data that is not a TFDS dataset.

    Args:
        data: See `Data`. A folder or an .npz file may hold both splits: as subfolders "train" and
            "test" with one folder per class in each, or as arrays x_train, y_train, x_test, y_test
            as in the files of `keras.datasets`. All other data is read in full for either split.
            Integer images have values from 0 to 255; float images are in the range of the model,
            and so are rows of a table `(N, D)`, of floats or of integers other than uint8.
        split: "train" or "test".
        image_shape: Input shape of the model.

    Returns:
        The examples; None where `data` is the name of a TFDS dataset.

    Raises:
        InputError: If `data` cannot be read.
    """
    if isinstance(data, tf.data.Dataset):
        return _of_dataset(data, image_shape)
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return _of_arrays(*data)
    if not isinstance(data, (str, os.PathLike)):
        raise InputError(f"`dataset` must be {_FORMS}. Received: {type(data).__name__}.")
    path = os.fspath(data)
    if path.endswith(".npz"):
        return _of_npz(path, split)
    folder = _folder_of(data)
    return None if folder is None else _of_folder(folder, split, image_shape)


def check_pixels(lowest: Any, highest: Any) -> None:
    """Raise an InputError if the values of integer images are not from 0 to 255."""
    if lowest < 0 or highest > 255:
        raise InputError(
            "`dataset` must have integer images with values from 0 to 255, or float images in the "
            f"range of the model. Received: values from {lowest} to {highest}."
        )


def _folder_of(data: str | os.PathLike[str]) -> pathlib.Path | None:
    """Return the folder that `data` is the path of, or None if it is the name of a TFDS dataset.

    A name such as "mnist" is that of the dataset even where there is such a folder, so that it means
    the same in each directory; "./mnist" is the folder.
    """
    path = os.fspath(data)
    is_path = isinstance(data, os.PathLike) or os.path.isabs(path) or path.startswith(".")
    # A name with a configuration, such as "imagenet_v2/topimages", usually is not a folder.
    if is_path or (os.path.isdir(path) and (os.sep in path or path not in tfds_names())):
        return pathlib.Path(path)
    return None


def tfds_names() -> list[str]:
    """Return the names of the datasets of TFDS."""
    import tensorflow_datasets as tfds  # Imported late, since it takes a second.

    return list(tfds.list_builders(with_community_datasets=False))


def _of_dataset(data: tf.data.Dataset, image_shape: tuple[int, ...]) -> OwnData:
    spec = data.element_spec
    is_pair = isinstance(spec, tuple) and len(spec) == 2
    if not is_pair or not all(isinstance(each, tf.TensorSpec) for each in spec):
        raise InputError(
            "`dataset` must give pairs (image, class). Received: a tf.data.Dataset with elements "
            f"{spec}."
        )
    has_channels = spec[0].shape.rank != 3 or spec[0].shape[-1] is not None
    if any(each.shape.rank is None for each in spec) or not has_channels:
        raise InputError(
            "`dataset` must have images and labels of a known number of axes and channels. Received: a "
            f"tf.data.Dataset with elements {spec}. Call set_shape on the tensors, or pass "
            "channels=3 and expand_animations=False to tf.io.decode_image."
        )
    images, labels = (tuple(each.shape) for each in spec)
    if _are_batches(images, labels, image_shape):
        data = data.unbatch()
    one = data.element_spec[0]
    is_ready = _is_ready(np.dtype(one.dtype.as_numpy_dtype), one.shape.rank)
    if is_ready:
        data = data.map(lambda image, label: (tf.cast(image, tf.float32), label))
    elif one.shape.rank == 2:
        data = data.map(lambda image, label: (image[..., tf.newaxis], label))
    return OwnData(data, is_ready, has_raw_labels=True)


def _are_batches(
    images: tuple[int | None, ...], labels: tuple[int | None, ...], image_shape: tuple[int, ...]
) -> bool:
    """Whether tensors of these shapes are batches.

    That is ambiguous if labels have one axis: they are classes of a batch or one set of labels.
    """
    if len(labels) != 1:
        return len(labels) > 1
    if image_shape in (images, images[1:]):
        return images != image_shape
    if len(images) > max(3, len(image_shape)) or (images[0] is None and labels[0] is None):
        return True
    is_one_image = len(images) == 2 or (len(images) == 3 and images[-1] in (1, 3, 4))
    return images[0] == labels[0] and not is_one_image


def _of_arrays(images: Any, labels: Any) -> OwnData:
    images = as_array(images, "images")
    labels = read_labels(labels, images.shape)
    is_ready = _is_ready(images.dtype, images.ndim - 1)
    if not is_ready:
        check_pixels(images.min(), images.max())
        images = images.astype(np.uint8)
        images = images[..., np.newaxis] if images.ndim == 3 else images
    else:
        images = images.astype(np.float32)
    return OwnData(tf.data.Dataset.from_tensor_slices((images, labels)), is_ready)


def _is_ready(dtype: np.dtype, rank: int) -> bool:
    """Whether values are already in the range of the model: those of tables, and all floats."""
    # bfloat16, of which NumPy does not know that it is a float, has kind "V".
    is_float = dtype.kind == "f" or dtype == tf.bfloat16.as_numpy_dtype
    if dtype.kind not in "ui" and not is_float:
        raise InputError(f"`dataset` must have numbers as images. Received: {dtype}.")
    if dtype == np.uint8 and rank == 1:
        raise InputError(
            "`dataset` must not have rows of uint8, which may be flattened images or a table. "
            "Received: one axis of uint8 per example. Reshape images to (N, H, W), or convert rows to "
            "float32 in the range of the model."
        )
    return is_float or rank == 1


def _read_npz(path: str, read: Callable[[Any], _Read]) -> _Read:
    """Return what a function reads from the open file, a mapping from names to arrays."""
    try:
        with open(path, "rb") as file:  # NumPy would leave a damaged file open.
            held = np.load(file)
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array without a name, as an .npy file")
            return read(held)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"`dataset` must be an .npz file that can be read. Received: {path!r} ({error}). Write it "
            "again with numpy.savez."
        ) from error


def _of_npz(path: str, split: str) -> OwnData:
    arrays = _read_npz(path, dict)
    for names in (
        (f"x_{split}", f"y_{split}"),
        ("images", "labels"),
        ("image", "label"),
        ("x", "y"),
    ):
        if set(names) <= set(arrays):
            return _of_arrays(*(arrays[name] for name in names))
    raise InputError(
        f"`dataset` must hold arrays x_{split} and y_{split}, or images and labels (image and label), "
        f"or x and y. Received: {path!r} with {', '.join(sorted(arrays)) or 'nothing'}."
    )


def _of_folder(folder: pathlib.Path, split: str, image_shape: tuple[int, ...]) -> OwnData:
    if len(image_shape) not in (2, 3):
        raise InputError(
            "`dataset` must be arrays for a model whose inputs are not images. Received: the folder "
            f"{str(folder)!r} for inputs of shape {image_shape}."
        )
    height, width, channels = (*image_shape, 1)[:3]
    if channels not in (1, 3):
        raise InputError(
            "`dataset` must be arrays for images with other than 1 or 3 channels. Received: the "
            f"folder {str(folder)!r} for inputs of shape {image_shape}."
        )
    training, folder = folder / "train", folder / split if (folder / split).is_dir() else folder
    try:
        source = keras.utils.image_dataset_from_directory(
            folder,
            color_mode="grayscale" if channels == 1 else "rgb",
            batch_size=None,
            image_size=(height, width),
            shuffle=False,
            verbose=False,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            "`dataset` must be a folder with one subfolder of images per class. Received: "
            f"{str(folder)!r} ({str(error).splitlines()[0]})."
        ) from error
    files = tuple(source.file_paths)
    found = source.class_names
    classes = tf.constant(_numbers(found, training if training.is_dir() else folder))
    source = source.map(lambda image, label: (image / 255.0, tf.gather(classes, label)))
    return OwnData(source, False, files=files)


def _numbers(names: Sequence[str], folder: pathlib.Path) -> list[int]:
    """Return the numbers of classes among the subfolders of the training split, which may be more."""
    # In the order of `keras.utils.image_dataset_from_directory`.
    known = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if unknown := sorted(set(names) - set(known)):
        raise InputError(
            "`dataset` must have the same classes in its subfolders train and test. Received: "
            f"{unknown[0]!r}, which is not in {str(folder)!r}. Rename or remove it."
        )
    return [known.index(name) for name in names]
