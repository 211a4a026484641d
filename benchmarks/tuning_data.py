"""Teachers for choosing settings, and images that neither they nor their students have seen."""

import pathlib

import keras
import numpy as np

import keras_zskd as zskd
from benchmarks.networks import six_convolutions
from keras_zskd.evaluation.average_precision import mean_average_precision
from keras_zskd.inputs import datasets

# Number of images at the end of a training split that teachers are not trained on.
HELD_OUT = 10_000
TEACHER_SEED = 1
_WORK = pathlib.Path("runs/tune")


def tuning_teacher(dataset: str) -> tuple[zskd.Teacher, np.ndarray, np.ndarray]:
    """Return a teacher, trained once on the other images, and the held-out images and labels.

    It is a LeNet-5 for gray images, and six convolutions with batch normalization for color images.
    """
    is_color = dataset == "cifar10"
    images, labels = datasets.load(dataset, "train", (32, 32, 3 if is_color else 1))
    path = _WORK / f"teacher_{dataset}.keras"
    if not path.exists():
        keras.utils.set_random_seed(TEACHER_SEED)
        model = six_convolutions() if is_color else zskd.lenet5()
        x, y = images[:-HELD_OUT], labels[:-HELD_OUT]
        epochs = 12
        decay = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(x) // 128))
        model.compile(
            optimizer=keras.optimizers.AdamW(decay, weight_decay=1e-2),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        if is_color:
            x = np.concatenate([x, x[:, :, ::-1]])
            y, epochs = np.concatenate([y, y]), epochs // 2
        model.fit(x, y, batch_size=128, epochs=epochs, verbose=2)
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    return zskd.Teacher(str(path), (0.0, 1.0)), images, labels


def accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy in percent, or mean average precision for sets of labels `(N, K)`."""
    answers = model.predict(images, batch_size=1000, verbose=0)
    if labels.ndim == 2:
        return round(100 * mean_average_precision(answers, labels), 2)
    return round(100 * float(np.mean(answers.argmax(axis=-1) == labels)), 2)
