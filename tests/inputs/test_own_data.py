"""Data of the user's own: every form gives the same images and labels."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd import InputError, train
from keras_zskd.core.input_range import FeatureRange
from keras_zskd.inputs import datasets
from keras_zskd.inputs.own_data import fingerprint_of, has_splits, name_of, open_own

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 8, 8, 3), np.uint8)
LABELS = np.repeat([0, 1, 2], 4)


def pairs(images=IMAGES, labels=LABELS):
    return tf.data.Dataset.from_tensor_slices((images, labels))


def folder(root):
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        directory = root / f"class_{label}"
        directory.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(directory / f"{number:02d}.png", image, scale=False)
    return root


def form(kind, tmp_path):
    if kind == "folder":
        return str(folder(tmp_path / "images"))
    if kind == "folder of splits":
        folder(tmp_path / "images" / "test")
        for number in range(3):
            (tmp_path / "images" / "train" / f"class_{number}").mkdir(parents=True)
        return tmp_path / "images"
    if kind == "npz":
        np.savez(
            tmp_path / "data.npz", x_test=IMAGES, y_test=LABELS[:, None], x_train=[], y_train=[]
        )
        return str(tmp_path / "data.npz")
    if kind == "npz without splits":
        np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS)
        return tmp_path / "data.npz"
    if kind == "npz with the names of TFDS":
        np.savez(tmp_path / "data.npz", image=IMAGES, label=LABELS)
        return tmp_path / "data.npz"
    if kind == "arrays":
        return IMAGES, LABELS
    if kind == "one-hot arrays":
        return IMAGES.astype("int64"), np.eye(3)[LABELS]
    return pairs().batch(5) if kind == "batched tf.data" else pairs()


KINDS = (
    "folder", "folder of splits", "npz", "npz without splits", "npz with the names of TFDS", "arrays",
    "one-hot arrays", "tf.data", "batched tf.data",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_same(kind, tmp_path):
    images, labels = datasets.load(form(kind, tmp_path), "test", (8, 8, 3), (-1.0, 1.0))
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_allclose(images, IMAGES / 127.5 - 1.0, atol=1e-5)


@pytest.mark.parametrize("kind", ["folder", "arrays"])
def test_images_get_the_size_and_channels_of_the_model(kind, tmp_path):
    images, _ = datasets.load(form(kind, tmp_path), "test", (4, 4, 1))
    assert images.shape == (12, 4, 4, 1)
    assert 0 <= images.min() < images.max() <= 1


def test_float_arrays_are_in_the_range_of_the_model():
    rows = RANDOM.normal(size=(12, 5)).astype("float32")
    inputs, labels = datasets.load((rows, LABELS), "test", (5,), (-4.0, 4.0))
    np.testing.assert_array_equal(inputs, rows)
    np.testing.assert_array_equal(labels, LABELS)
    with pytest.raises(
        InputError, match=r"shape \(6,\), which the model takes. Received: .*\(5,\)"
    ):
        datasets.load((rows, LABELS), "test", (6,))


@pytest.mark.parametrize(("data", "said"), [
    ((IMAGES, LABELS[:5]), r"one label per image.*\(12, 8, 8, 3\).*\(5,\)"),
    ((IMAGES.astype(int) + 1, LABELS), "values from 0 to 255.*to 256"),
    ((IMAGES.astype(str), LABELS), "numbers as images"),
    ("./nowhere", "one subfolder of images per class.*nowhere"),
    ("nowhere.npz", "can be read.*nowhere"),
    (7, "Received: int"),
    (tf.data.Dataset.range(3), "pairs"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused_in_a_sentence(data, said):
    with pytest.raises(InputError, match=f"`dataset` must .*{said}"):
        datasets.load(data, "test", (8, 8, 3))


def test_a_folder_needs_no_slash_unless_tfds_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pics", "mnist"):
        folder(tmp_path / name)
    for data in ("pics", "pics/", pathlib.Path("mnist"), "./mnist"):
        found = datasets.load(data, "test", (8, 8, 3))
        np.testing.assert_array_equal(found[1], LABELS)
        assert not has_splits(data)
    assert open_own("mnist", "test", (8, 8, 3)) is None
    assert has_splits("mnist")


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint16"])
def test_pixels_have_the_same_range_in_every_integer_type(dtype):
    images, _ = datasets.load(pairs(IMAGES.astype(dtype)).batch(5), "test", (8, 8, 3))
    np.testing.assert_allclose(images, IMAGES / 255, atol=1e-6)


@pytest.mark.parametrize(("images", "said"), [
    (IMAGES.astype("uint16") + 1, "to 256"),
    (IMAGES.astype("int32") - 1, "from -1"),
])  # fmt: skip
def test_pixels_out_of_range_are_found_while_reading(images, said):
    with pytest.raises(InputError, match=f"`dataset` must have integer images .*values.*{said}"):
        datasets.load(pairs(images), "test", (8, 8, 3))


@pytest.mark.parametrize("labels", [
    LABELS.astype(float), LABELS[:, None], np.eye(3)[LABELS], np.eye(3, dtype=bool)[LABELS],
])  # fmt: skip
def test_labels_in_any_form_are_classes(labels):
    _, classes = datasets.load((IMAGES, labels), "test", (8, 8, 3))
    np.testing.assert_array_equal(classes, LABELS)
    assert classes.dtype == np.int64


@pytest.mark.parametrize("batch", [None, 5, 4])
@pytest.mark.parametrize("labels", [LABELS.astype(float), LABELS[:, None], np.eye(3)[LABELS]])
def test_labels_of_tf_data_are_read_like_those_of_arrays(labels, batch):
    data = pairs(labels=labels)
    data = data.batch(batch, drop_remainder=batch == 4) if batch else data
    images, classes = datasets.load(data, "test", (8, 8, 3))
    assert images.shape == IMAGES.shape
    np.testing.assert_array_equal(classes, LABELS)


@pytest.mark.parametrize("make", [lambda *both: both, pairs, lambda *both: pairs(*both).batch(5)])
def test_a_set_of_labels_per_image_stays_one(make):
    sets = np.eye(3, dtype=int)[LABELS]
    sets[0] = 1
    np.testing.assert_array_equal(datasets.load(make(IMAGES, sets), "test", (8, 8, 3))[1], sets)


@pytest.mark.parametrize(("batch", "drop_remainder"), [(None, False), (5, False), (4, True)])
@pytest.mark.parametrize("shape", [(5,), (8, 8), (8, 8, 1)])
def test_tf_data_of_tables_and_grayscale_images(shape, batch, drop_remainder):
    values = RANDOM.normal(size=(12, 5)).astype("float32") if len(shape) == 1 else IMAGES[..., 0]
    data = pairs(values)
    data = data.batch(batch, drop_remainder=drop_remainder) if batch else data
    inputs, classes = datasets.load(data, "test", shape)
    expected = datasets.load((values, LABELS), "test", shape)[0]
    np.testing.assert_array_equal(inputs, expected)
    np.testing.assert_array_equal(classes, LABELS)


def test_labels_of_unknown_shape_are_read():
    def one(image, label):
        made = tf.numpy_function(lambda each: np.eye(3)[each], [label], tf.float64)
        return image, tf.ensure_shape(made, [None])

    np.testing.assert_array_equal(datasets.load(pairs().map(one), "test", (8, 8, 3))[1], LABELS)


@pytest.mark.parametrize(("data", "said"), [
    (pairs(labels=np.array(list("abcabcabcabc"))), "integers as labels"),
    (pairs(labels=LABELS + 0.5), "integers as labels.*label 0.5"),
    (pairs(IMAGES[:0], LABELS[:0]), "one image at least.*empty"),
    (pairs({"image": IMAGES}), "pairs"),
    (pairs([tf.io.encode_png(IMAGES[0]).numpy()], [0]).map(
        lambda png, label: (tf.io.decode_image(png), label)), "known number of axes.*channels=3"),
    (pairs([tf.io.encode_png(IMAGES[0]).numpy()], [0]).map(
        lambda png, label: (tf.io.decode_png(png), label)), "known .* and channels.*channels=3"),
])  # fmt: skip
def test_tf_data_that_cannot_be_read_is_refused_in_a_sentence(data, said):
    with pytest.raises(InputError, match=f"`dataset` must .*{said}"):
        datasets.load(data, "test", (8, 8, 3))


@pytest.mark.parametrize("make", [lambda *both: both, pairs, lambda *both: pairs(*both).batch(5)])
@pytest.mark.parametrize("dtype", ["int64", "uint16", "float64"])
def test_rows_of_a_table_are_in_the_range_of_the_model(make, dtype):
    rows = RANDOM.integers(0, 1000, (12, 5)).astype(dtype)
    inputs, _ = datasets.load(make(rows, LABELS), "test", (5,), (0, 1000))
    np.testing.assert_array_equal(inputs, rows)
    assert inputs.dtype == np.float32


@pytest.mark.parametrize("make", [lambda *both: both, pairs])
@pytest.mark.parametrize(("images", "said"), [
    (IMAGES.reshape(12, -1), r"not have rows of uint8.*Reshape images to \(N, H, W\)"),
    (IMAGES > 100, "have numbers as images"),
])  # fmt: skip
def test_images_of_another_type_are_refused(make, images, said):
    with pytest.raises(InputError, match=f"`dataset` must {said}"):
        datasets.load(make(images, LABELS), "test", (192,))


@pytest.mark.parametrize("shape", [(64,), (8, 8), (8, 8, 1)])
def test_images_get_a_range_per_feature(shape):
    low = np.arange(64, dtype="float32").reshape(shape)
    inputs, _ = datasets.load((IMAGES[..., 0], LABELS), "test", shape, FeatureRange(low, low + 2))
    expected = IMAGES[..., 0].reshape(12, *shape) / 127.5 + low
    np.testing.assert_allclose(inputs, expected, atol=1e-5)


@pytest.mark.parametrize(("labels", "said"), [
    (np.array(list("abcabcabcabc")), "label a of type <U1.*Number the classes"),
    (LABELS + 0.5, "label 0.5 of type float64"),
    (np.where(LABELS == 1, np.nan, 0.0), "label nan"),
    (LABELS.astype(object), "label 0 of type object"),
])  # fmt: skip
def test_labels_that_are_not_integers_are_refused(labels, said):
    with pytest.raises(InputError, match=f"`dataset` must have integers as labels.*{said}"):
        datasets.load((IMAGES, labels), "test", (8, 8, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(value):
    images = IMAGES / 255
    images[3, 0, 0, 0] = value
    with pytest.raises(InputError, match="`dataset` must have finite numbers as images"):
        datasets.load((images, LABELS), "test", (8, 8, 3))


def test_images_of_different_shapes_are_refused():
    ragged = [IMAGES[0], IMAGES[1, :4]]
    with pytest.raises(InputError, match="`dataset` must have images that all have the same shape"):
        datasets.load((ragged, [0, 1]), "test", (8, 8, 3))


def write_unreadable(kind, path):
    np.savez(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    if kind == "array":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    elif kind == "directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hi"}[kind])


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "array", "directory"])
def test_an_npz_file_that_cannot_be_read_is_refused(kind, tmp_path):
    path = tmp_path / "data.npz"
    write_unreadable(kind, path)
    said = "`dataset` must be an .npz file that can be read.*data.npz"
    with pytest.raises(InputError, match=said):
        datasets.load(path, "test", (8, 8, 3))
    with pytest.raises(InputError, match=said):
        has_splits(path)


def test_an_npz_file_with_a_damaged_array_is_refused(tmp_path):
    path = tmp_path / "data.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    damaged = bytearray(path.read_bytes())
    damaged[200:240] = bytes(40)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"`dataset` must be an \.npz file"):
        datasets.load(path, "test", (8, 8, 3))


def test_the_error_of_a_damaged_image_names_its_file(tmp_path):
    path = folder(tmp_path) / "class_1" / "damaged.png"
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"`dataset` must have only images.*class_1.damaged\.png"):
        datasets.load(tmp_path, "test", (8, 8, 3))


def test_the_error_of_a_pipeline_has_the_reason():
    data = pairs([b"no image"], [0]).map(
        lambda png, label: (tf.io.decode_png(png, channels=3), label)
    )
    with pytest.raises(InputError, match="`dataset` must have only examples") as raised:
        datasets.load(data, "test", (8, 8, 3))
    assert "{{" not in str(raised.value)
    assert "InvalidArgumentError of TensorFlow (" in str(raised.value)


@pytest.mark.parametrize("batch", [None, 5])
def test_tf_data_must_end(batch):
    data = pairs().repeat()
    data = data.batch(batch) if batch else data
    with pytest.raises(InputError, match=r"`dataset` must end.*repeat\(\)"):
        datasets.load(data, "test", (8, 8, 3))
    assert len(datasets.load(data, "test", (8, 8, 3), limit=15)[1]) == 15


def test_an_npz_file_without_the_split_is_refused(tmp_path):
    np.savez(tmp_path / "data.npz", x_train=IMAGES, y_train=LABELS)
    with pytest.raises(InputError, match=r"x_test and y_test.*with x_train, y_train"):
        datasets.load(tmp_path / "data.npz", "test", (8, 8, 3))


def test_names_for_records(tmp_path):
    assert name_of(None) is None
    assert name_of("mnist") == "mnist"
    assert name_of(tmp_path) == str(tmp_path)
    assert name_of((IMAGES, LABELS)) == "the given images"


def test_classes_are_numbered_as_in_the_training_split(tmp_path):
    folder(tmp_path / "test")
    for name in ("class_0", "class_00", "class_1", "class_2"):
        (tmp_path / "train" / name).mkdir(parents=True)
    _, labels = datasets.load(str(tmp_path), "test", (6, 6, 1))
    np.testing.assert_array_equal(labels, np.array([0, 2, 3])[LABELS])
    (tmp_path / "train" / "class_2").rmdir()
    with pytest.raises(InputError, match=r"'class_2', which is not in .*train"):
        datasets.load(str(tmp_path), "test", (6, 6, 1))


def test_arrays_have_a_checksum():
    assert fingerprint_of((IMAGES, LABELS)) == fingerprint_of([IMAGES.copy(), LABELS])
    assert fingerprint_of((IMAGES, LABELS)) != fingerprint_of((IMAGES, LABELS[::-1]))
    assert fingerprint_of("mnist") is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("folder", False), ("folder of splits", True), ("npz", True), ("npz without splits", False),
     ("arrays", False), ("tf.data", False)],
)  # fmt: skip
def test_a_training_needs_both_splits(kind, expected, tmp_path):
    data = form(kind, tmp_path)
    assert has_splits(data) is expected
    assert has_splits("mnist")
    if not expected:
        with pytest.raises(
            InputError, match="`dataset` must have a training split and a test split"
        ):
            train("lenet5", data, tmp_path / "teacher.keras")
