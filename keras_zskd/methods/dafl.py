"""Data-Free Learning of Student Networks (Chen et al., ICCV 2019)."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.distillation.adversarial_distiller import (
    AdversarialDistiller,
    Answers,
    GeneratedImages,
    mean_over_replicas,
)
from keras_zskd.distillation.generator_networks import image_generator
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Noise
from keras_zskd.methods.method import Method, check_counts
from keras_zskd.methods.training import adam
from keras_zskd.runs.needs import ClassTemplates, Need
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DAFL(Method):
    """A generator whose images the teacher is sure of, moved by, and sees in all classes.

    `L_G = oh * CE(T, argmax T) - a * mean |f_T| + ie * sum_k p_k log10 p_k` (section 3.2), with `p`
    the mean of the teacher's answers over the batch. The paper writes the natural logarithm, the
    released code has log10, which we follow. The student learns from the same images, from before
    the generator's update, at temperature 1.

    Args:
        latent: Size of the noise.
        filters: Of the generator's first convolution.
        oh: Weight of the one-hot loss.
        a: Weight of the activation loss.
        ie: Weight of the information entropy loss.
        output: How the generator ends: "tanh" or "standardized"; see `image_generator`.
        epsilon: Of the generator's batch normalizations.
        epochs: Of the training.
        rounds: Steps of an epoch.
        batch_size: Of a step.
        rate_student: Adam's learning rate.
        rate_generator: Adam's learning rate.
        decay: Whether both rates fall to 0 along a cosine.
    """

    name = "dafl"
    title = "a student trained on what a generator network makes while it learns; nothing is stored"
    reference = "Chen et al.: Data-Free Learning of Student Networks, ICCV 2019"
    published = {"MNIST, LeNet-5 to a half of all layers": 98.20}
    presets = {
        "default": {},
        # The released code on MNIST.
        "paper": {
            "filters": 128, "output": "standardized", "epsilon": 0.8, "epochs": 200,
            "rounds": 120, "batch_size": 512, "rate_generator": 0.2, "decay": False,
        },
    }  # fmt: skip

    latent: int = 100
    filters: int = 64
    oh: float = 1.0
    a: float = 0.1
    ie: float = 5.0
    output: str = "tanh"
    epsilon: float = 1e-3
    epochs: int = 40
    rounds: int = 64
    batch_size: int = 64
    rate_student: float = 2e-3
    rate_generator: float = 1e-3
    decay: bool = True

    def __post_init__(self) -> None:
        check_counts(self, "latent", "filters", "epochs", "rounds", "batch_size")

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (ClassTemplates(),)

    def generator_loss(self, teacher: Answers, student: Callable[[], Any]) -> tuple[Any, Any]:
        """`L_G` of each image, and of the batch."""
        del student
        surest = tf.argmax(teacher.logits, axis=-1)
        one_hot = tf.nn.sparse_softmax_cross_entropy_with_logits(surest, teacher.logits)
        activation = tf.reduce_mean(tf.abs(teacher.features), axis=-1)
        p = mean_over_replicas(tf.nn.softmax(teacher.logits))
        information = tf.reduce_sum(tf.math.xlogy(p, p)) / math.log(10)
        return self.oh * one_hot - self.a * activation, self.ie * information

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        network = image_generator(
            run.teacher, self.latent, self.filters, self.epsilon, self.output, run.seed
        )
        distiller = AdversarialDistiller(
            run.teacher, run.new_student(), network, self.generator_loss, distillation_loss,
            seed=run.seed,
        )  # fmt: skip
        num_steps = self.epochs * self.rounds if self.decay else None
        distiller.compile(
            adam(self.rate_student, num_steps),
            generator_optimizer=adam(self.rate_generator, num_steps),
            metrics=[TeacherAgreement()],
        )
        noise = Noise((self.latent,))
        run.fit(distiller, noise, self.epochs, self.batch_size, steps=self.rounds)
        images = GeneratedImages(network, noise)
        return Trained(distiller.student, images, images.images(1_000), Origin.generated())
