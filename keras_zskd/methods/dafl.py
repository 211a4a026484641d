"""Data-Free Learning of Student Networks (Chen et al., ICCV 2019)."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.distillation.adversarial_distiller import Answers, mean_over_replicas
from keras_zskd.methods.generator_method import GeneratorMethod


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DAFL(GeneratorMethod):
    """A generator of images with confident predictions, strong features and balanced classes.

    `L_G = oh * CE(T, argmax T) - a * mean |f_T| + ie * sum_k p_k log10 p_k` (section 3.2), with `p`
    the mean of the teacher's predictions over the batch. The paper uses the natural logarithm, and
    the released code log10; we follow the code. The student is trained at temperature 1 on the same
    images, which precede the generator's update.

    For the other arguments see `GeneratorMethod`.

    Args:
        oh: Weight of the one-hot loss.
        a: Weight of the activation loss.
        ie: Weight of the information entropy loss.
    """

    name = "dafl"
    title = "a student trained on images from a generator trained with it; nothing is stored"
    reference = "Chen et al.: Data-Free Learning of Student Networks, ICCV 2019"
    published = {"MNIST, LeNet-5 to a half of all layers": 98.20}
    presets = {
        "default": {},
        # The released code for MNIST.
        "paper": {
            "filters": 128, "output": "standardized", "epsilon": 0.8, "epochs": 200,
            "rounds": 120, "batch_size": 512, "rate_generator": 0.2, "decay": False,
        },
    }  # fmt: skip

    output: str = "tanh"
    oh: float = 1.0
    a: float = 0.1
    ie: float = 5.0

    def generator_loss(self, teacher: Answers, student: Callable[[], Any]) -> tuple[Any, Any]:
        """Return the terms of `L_G` for each image, and the term for the batch."""
        del student
        surest = tf.argmax(teacher.logits, axis=-1)
        one_hot = tf.nn.sparse_softmax_cross_entropy_with_logits(surest, teacher.logits)
        activation = tf.reduce_mean(tf.abs(teacher.features), axis=-1)
        p = mean_over_replicas(tf.nn.softmax(teacher.logits))
        information = tf.reduce_sum(tf.math.xlogy(p, p)) / math.log(10)
        return self.oh * one_hot - self.a * activation, self.ie * information
