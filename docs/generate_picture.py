"""Draws docs/what_the_student_sees.png, the picture of the README: `python docs/generate_picture.py`.

It shows the ten classes of the teacher that ships with the package, without any data: class
impressions, data impressions, procedural pictures that the teacher assigns to the class, and what
the student is trained on. Takes about a minute. The same command always draws the same picture.
"""

import importlib.resources
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure
from PIL import Image

import keras_zskd as zskd

FILE = Path(__file__).with_name("what_the_student_sees.png")
_NUM_IMPRESSIONS = 200
_NUM_PICTURES = 2_000
# The families that method `best` chooses for this teacher.
_FAMILIES = {"strokes": 0.55, "blobs": 0.31, "things": 0.14}
_SEED = 1


def rows(teacher: zskd.Teacher) -> dict[str, np.ndarray]:
    """Return one input per class, `(K, H, W, C)`, for each row."""
    one_hot = _impressions(teacher, "class_impressions")
    dirichlet = _impressions(teacher, "zskd")
    pictures = zskd.ProceduralPictures(teacher.input_shape, teacher.input_range, _FAMILIES)
    drawn = pictures.images(_NUM_PICTURES, seed=_SEED)
    # Method `best` trains on both; every image is transformed, and some are mixed.
    seen = np.concatenate([dirichlet["image"][:8], drawn[:2]])
    for number, augmentation in enumerate((zskd.RandomAffine(), zskd.Mixup(0.3))):
        seed = tf.constant([_SEED, number])
        seen = augmentation(tf.constant(seen), teacher.input_range, seed)
    return {
        "class\nimpressions": _best_of(one_hot["image"], one_hot["logits"]),
        "data\nimpressions": _best_of(dirichlet["image"], dirichlet["logits"]),
        "pictures by\nformula": _best_of(drawn, np.asarray(teacher(drawn))),
        "what the\nstudent sees": np.asarray(seen),
    }


def _impressions(teacher: zskd.Teacher, method: str) -> dict[str, Any]:
    generator = zskd.METHODS[method]().generator(teacher)
    with tempfile.TemporaryDirectory() as directory:
        made = generator.generate(_NUM_IMPRESSIONS, directory, seed=_SEED, verbose=0)
        return made.arrays()


def _best_of(images: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return, for each class, the image with the largest margin over the other classes."""
    margins = logits - np.sort(logits, axis=1)[:, -2:-1]
    return np.asarray(images[margins.argmax(axis=0)])


def draw(teacher: zskd.Teacher) -> Figure:
    """Draw one row per kind of input, with the teacher's predictions."""
    found = rows(teacher)
    figure = Figure((8.6, 0.92 * len(found)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(found), teacher.num_classes)
    for axes_of_row, (name, images) in zip(grid, found.items(), strict=True):
        predicted = tf.nn.softmax(teacher(images)).numpy()
        for axes, image, shares in zip(axes_of_row, images, predicted, strict=True):
            axes.imshow(image[..., 0], "gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f"{shares.argmax()} ({shares.max():.0%})", fontsize=7, labelpad=2)
        axes_of_row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for number, axes in enumerate(grid[0]):
        axes.set_title(f"class {number}", fontsize=8, pad=3)
    return figure


def main() -> int:
    """Draw the picture."""
    path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
    drawn = io.BytesIO()
    draw(zskd.Teacher(str(path), input_range=(0.0, 1.0))).savefig(drawn, dpi=130)
    # 32 shades of gray, since a file in a repository should be small.
    Image.open(drawn).convert("L").quantize(32).save(FILE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
