"""A replay pool of images from restarted generators (Fang et al., 2022; Tran et al., 2024)."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.randomness import derived_seed
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.distillation.pool_generator import PoolGenerator
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Arrays, num_held_out
from keras_zskd.methods.method import Method, check_choice, check_counts, check_numbers
from keras_zskd.methods.synthesis_method import AUGMENTATIONS
from keras_zskd.methods.training import adam, agreements
from keras_zskd.models.arithmetic import UPDATE
from keras_zskd.runs.needs import ClassTemplates, Need
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

_MEASURED_STEPS = 20


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class NAYER(Method):
    """A growing pool of images, made in rounds by generators that are reinitialized.

    In each round, a new generator makes `batches` batches of images (see `PoolGenerator`) with

    `L_G = oh CE(T(x), y) + bn R(x) - adv mean(1[argmax T = argmax S] KL(T(x) || S(x)))`

    where `R` is the distance to the teacher's batch normalization statistics, if it has such
    layers. The third term, which the first round leaves out, favors images for which the student
    predicts the same class as the teacher, but with other probabilities. The images join the pool,
    and the student is trained on all of it.

    The class codes are the class templates instead of text embeddings, and images are not augmented
    in the synthesis (our reading).

    Args:
        rounds: Number of generators, each followed by a training.
        batches: Batches of images per round.
        groups: Images of each class in a batch.
        generator_steps: Adam steps for each batch.
        rate_generator: Adam's learning rate in the synthesis.
        latent: Units of the noisy layers.
        filters: Number of filters of the generator's first convolution.
        oh: Weight of the cross-entropy with the class.
        bn: Weight of the distance to the batch normalization statistics.
        adv: Weight of the adversarial term.
        temperature: `tau` of the distillation.
        augmentation: Augmentation of the student's inputs: "default" (affine maps and mixup),
            "paper" or "none"; see `SynthesisMethod`.
        batch_size: Batch size of the training.
        steps: Steps of the training after each round.
        learning_rate: Adam's learning rate at the first step; it decays to 0 along a cosine.
    """

    name = "nayer"
    title = "a student trained on a growing pool of images from generators that are reinitialized"
    reference = (
        "Tran et al.: NAYER: Noisy Layer Data Generation for Efficient and Effective Data-free "
        "Knowledge Distillation, CVPR 2024; Fang et al.: Up to 100x Faster Data-free Knowledge "
        "Distillation, AAAI 2022"
    )
    published = {
        "CIFAR-10, WRN-40-2 to WRN-16-1, Fang et al., 10 steps": 89.29,
        "CIFAR-10, ResNet-34 to ResNet-18, Fang et al., 10 steps": 94.05,
    }
    presets = {
        "default": {},
        # The released code for CIFAR-10: generators live for 10 of 300 epochs.
        "paper": {
            "rounds": 30, "batches": 10, "groups": 40, "generator_steps": 40, "steps": 4000,
            "batch_size": 512,
        },
    }  # fmt: skip

    counts = ("batches", "steps")

    rounds: int = 10
    batches: int = 8
    groups: int = 20
    generator_steps: int = 30
    rate_generator: float = 4e-3
    latent: int = 256
    filters: int = 32
    oh: float = 1.0
    bn: float = 1.0
    adv: float = 1.0
    temperature: float = 20.0
    augmentation: str = "default"
    batch_size: int = 256
    steps: int = 256
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        check_numbers(self)
        check_counts(self, "rounds", "batches", "groups", "generator_steps", "batch_size", "steps")
        check_counts(self, "latent", "filters")
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (ClassTemplates(),)

    def generator_loss(
        self, teacher: Any, student: Any, labels: Any, distance: Any, adversarial: Any
    ) -> Any:
        """Return `L_G`; see `PoolGenerator`."""
        one_hot = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, teacher)
        agree = tf.cast(tf.equal(tf.argmax(teacher, -1), tf.argmax(student, -1)), tf.float32)
        differ = agree * distillation_loss(teacher, student, 1.0)
        return (
            self.oh * tf.reduce_mean(one_hot)
            + self.bn * distance
            - adversarial * tf.reduce_mean(differ)
        )

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        distiller = Distiller(
            run.teacher,
            run.new_student(),
            temperature=self.temperature,
            augmentations=AUGMENTATIONS[self.augmentation],
            seed=run.seed,
        )
        rate = adam(self.learning_rate, self.rounds * self.steps)
        distiller.compile(rate, metrics=[TeacherAgreement()])
        generator = PoolGenerator(
            run.teacher, distiller.student_logits, self.generator_loss, self.latent, self.filters,
            self.groups, self.rate_generator,
        )  # fmt: skip
        pool, held_out, classes = [], [], run.teacher.num_classes
        for number in range(self.rounds):
            make = functools.partial(self._made, generator, run.seed, number)
            measure = functools.partial(self._measured, generator)
            updates = UPDATE * self.generator_steps * self.batches * self.groups * classes
            networks = [run.teacher.model, generator.network, distiller.student_logits]
            passes = [(network, updates) for network in networks]
            made = run.keep(f"pool-{number + 1}", make, measure, passes)["image"]
            num_unseen = num_held_out(len(made))
            held_out.append(made[:num_unseen])
            pool.append(made[num_unseen:])
            seen, unseen = Arrays({"image": np.concatenate(pool)}), np.concatenate(held_out)
            run.fit(
                distiller, seen, 1, self.batch_size, steps=self.steps,
                name=f"training-{number + 1}",
                callbacks=agreements(run, {"held_out_agreement": unseen}),
            )  # fmt: skip
        origin = Origin.pool(sum(map(len, pool)))
        return Trained(distiller.student, seen, unseen, origin)

    def _made(self, generator: PoolGenerator, seed: int, number: int) -> dict[str, np.ndarray]:
        seed = derived_seed(seed, number) >> 1
        generator.restart(seed)
        return generator.images(
            self.batches, self.generator_steps, seed, self.adv if number else 0.0
        )

    def _measured(self, generator: PoolGenerator) -> tuple[dict[str, np.ndarray], float]:
        """Images of one batch with few steps, repeated for all batches, and estimated seconds."""
        generator.images(1, 1, 0, self.adv)  # Compiles.
        begun = time.perf_counter()
        part = generator.images(1, _MEASURED_STEPS, 0, self.adv)["image"]
        per_step = (time.perf_counter() - begun) / _MEASURED_STEPS
        images = np.concatenate([part] * self.batches)
        return {"image": images}, per_step * self.batches * self.generator_steps
