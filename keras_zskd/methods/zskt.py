"""Zero-shot Knowledge Transfer via Adversarial Belief Matching (Micaelli and Storkey, 2019)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_zskd.distillation.adversarial_distiller import Answers
from keras_zskd.methods.generator_method import GeneratorMethod


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ZSKT(GeneratorMethod):
    """A generator of images for which the student's predictions differ from the teacher's.

    The student minimizes `KL(T(x) || S(x)) + attention * AT(x)` at temperature 1, in ten updates on
    the same images; the generator maximizes the first term in one update (algorithm 1). `AT` is the
    `attention_distance` of feature maps, summed over the sizes that both networks have. According
    to the authors it contributes about two points and can be omitted, as by default.

    In the released code, `beta` is 250, but the divergence is also divided by the number of
    classes. Here the divergence is the mean over the images, so preset "paper" has 2,500, for ten
    classes.

    With `fresh_noise`, each update of the student uses new images, as in the reproduction of
    Ferles et al. (ReScience, 2020).

    For the other arguments see `GeneratorMethod`.

    Args:
        attention: Weight of the attention term, 0 or more.
        clip: Maximum global norm of the gradients of each network. On several devices, Keras limits
            the gradients of each device, before they are added.
    """

    name = "zskt"
    title = "a student trained on generated images for which its predictions differ most"
    reference = (
        "Micaelli and Storkey: Zero-shot Knowledge Transfer via Adversarial Belief Matching, "
        "NeurIPS 2019"
    )
    published = {"CIFAR-10, WRN-16-2 to WRN-16-1": 82.44, "CIFAR-10, WRN-40-2 to WRN-16-1": 83.69}
    presets = {
        "default": {},
        # The released code for CIFAR-10: 80,000 batches of images, eleven per step.
        "paper": {
            "filters": 128, "output": "normalized", "student_steps": 10, "fresh_noise": False,
            "epochs": 80, "rounds": 91, "batch_size": 128, "attention": 2_500.0,
        },
    }  # fmt: skip

    filters: int = 32
    student_steps: int = 5
    fresh_noise: bool = True
    attention: float = 0.0
    clip: float = 5.0

    def generator_loss(self, teacher: Answers, student: Callable[[], Any]) -> tuple[Any, Any]:
        """Return `-KL(T(x) || S(x))` of each image."""
        return -self.student_loss(teacher.logits, student()), 0.0

    def optimizers(self, num_steps: int) -> tuple[Any, Any]:
        """See `GeneratorMethod.optimizers`."""
        student, generator = self.learning_rates(num_steps)
        return (
            keras.optimizers.Adam(student, global_clipnorm=self.clip),
            keras.optimizers.Adam(generator, global_clipnorm=self.clip),
        )
