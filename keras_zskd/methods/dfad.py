"""Data-Free Adversarial Distillation (Fang et al., 2019)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.distillation.adversarial_distiller import Answers
from keras_zskd.methods.generator_method import GeneratorMethod
from keras_zskd.methods.method import check_choice


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DFAD(GeneratorMethod):
    """A generator of images for which the student's logits differ from the teacher's.

    The student minimizes `mean |f_T(x) - f_S(x)|` over the logits, on new images for each of its
    updates; the generator maximizes it (section 3.2). Batch normalization is not required.

    For the other arguments see `GeneratorMethod`.

    Args:
        student_optimizer: "adam", or "sgd" with momentum 0.9 and weight decay 5e-4.
    """

    name = "dfad"
    title = "a student trained on generated images for which it differs most from its teacher"
    reference = "Fang et al.: Data-Free Adversarial Distillation, 2019"
    published = {"MNIST, LeNet-5 to a half of all layers": 98.3}
    presets = {
        "default": {},
        # The released code for MNIST.
        "paper": {
            "filters": 128, "output": "normalized_tanh", "epochs": 40, "rounds": 50,
            "batch_size": 512, "rate_student": 0.01, "student_optimizer": "sgd", "decay": False,
        },
    }  # fmt: skip

    filters: int = 32
    student_steps: int = 5
    fresh_noise: bool = True
    student_optimizer: str = "adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("student_optimizer", self.student_optimizer, ("adam", "sgd"))

    def generator_loss(self, teacher: Answers, student: Callable[[], Any]) -> tuple[Any, Any]:
        """Return the negated loss of the student."""
        return -self.student_loss(teacher.logits, student()), 0.0

    def student_loss(self, teacher: Any, student: Any) -> Any:
        """Return the mean absolute difference of the logits, `(N,)`."""
        return tf.reduce_mean(tf.abs(teacher - student), axis=-1)

    def optimizers(self, num_steps: int) -> tuple[Any, Any]:
        """See `GeneratorMethod.optimizers`."""
        student, generator = self.learning_rates(num_steps)
        if self.student_optimizer == "adam":
            return keras.optimizers.Adam(student), keras.optimizers.Adam(generator)
        sgd = keras.optimizers.SGD(student, momentum=0.9, weight_decay=5e-4)
        return sgd, keras.optimizers.Adam(generator)
