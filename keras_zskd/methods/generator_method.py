"""`GeneratorMethod`: base class of methods with a generator network."""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_zskd.distillation.adversarial_distiller import (
    AdversarialDistiller,
    Answers,
    GeneratedImages,
)
from keras_zskd.distillation.generator_networks import image_generator
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Noise
from keras_zskd.methods.method import Method, check_counts, check_numbers
from keras_zskd.methods.training import cosine
from keras_zskd.runs.needs import ClassTemplates, Need
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained


@dataclasses.dataclass(frozen=True, kw_only=True)
class GeneratorMethod(Method):
    """Base class of methods that train a generator and a student in turn; no image is stored.

    A subclass defines `generator_loss`, and may override `student_loss` and the optimizers.

    Args:
        latent: Size of the noise vector.
        filters: Number of filters of the generator's first convolution.
        output: Last layers of the generator; see `image_generator`.
        epsilon: Epsilon of the generator's batch normalization layers.
        student_steps: Student updates per step, after one update of the generator.
        fresh_noise: Whether each student update uses new images.
        epochs: Number of epochs.
        rounds: Steps per epoch.
        batch_size: Images per update.
        rate_student: Learning rate of the student.
        rate_generator: Adam's learning rate for the generator.
        decay: Whether both rates decay to 0 along a cosine.

    Attributes:
        attention: Weight of the attention term in the student's loss, see `AdversarialDistiller`.
    """

    attention = 0.0
    counts = ("rounds",)

    latent: int = 100
    filters: int = 64
    output: str = "normalized_tanh"
    epsilon: float = 1e-3
    student_steps: int = 1
    fresh_noise: bool = False
    epochs: int = 40
    rounds: int = 64
    batch_size: int = 64
    rate_student: float = 2e-3
    rate_generator: float = 1e-3
    decay: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        check_counts(self, "latent", "filters", "student_steps", "epochs", "rounds", "batch_size")

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (ClassTemplates(),)

    @abc.abstractmethod
    def generator_loss(self, teacher: Answers, student: Callable[[], Any]) -> tuple[Any, Any]:
        """Return the loss of each image `(N,)`, and of the batch; see `AdversarialDistiller`."""

    def student_loss(self, teacher: Any, student: Any) -> Any:
        """Return the KL divergence `(N,)` at temperature 1 from logits `(N, K)`."""
        return distillation_loss(teacher, student, 1.0)

    def optimizers(self, num_steps: int) -> tuple[Any, Any]:
        """Return the optimizers of student and generator, for `num_steps` steps in total."""
        student, generator = self.learning_rates(num_steps)
        return keras.optimizers.Adam(student), keras.optimizers.Adam(generator)

    def learning_rates(self, num_steps: int) -> tuple[Any, Any]:
        """Return the learning rates of student and generator, numbers or schedules."""
        if not self.decay:
            return self.rate_student, self.rate_generator
        return (
            cosine(self.rate_student, num_steps * self.student_steps),
            cosine(self.rate_generator, num_steps),
        )

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        network = image_generator(
            run.teacher, self.latent, self.filters, self.epsilon, self.output, run.seed
        )
        distiller = AdversarialDistiller(
            run.teacher,
            run.new_student(),
            network,
            self.generator_loss,
            self.student_loss,
            student_steps=self.student_steps,
            fresh_noise=self.fresh_noise,
            seed=run.seed,
            attention=self.attention,
        )
        student, generator = self.optimizers(self.epochs * self.rounds)
        distiller.compile(student, generator_optimizer=generator, metrics=[TeacherAgreement()])
        noise = Noise((self.latent,))
        run.fit(distiller, noise, self.epochs, self.batch_size, steps=self.rounds)
        images = GeneratedImages(network, noise)
        # Other images than those that calibrate the int8 file.
        held_out = images.images(1_000, seed=run.seed + 1)
        return Trained(distiller.student, images, held_out, Origin.generated())
