"""`SynthesisMethod`: base class of methods that store impressions and train on them."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.paper_augmentation import PaperAugmentation
from keras_zskd.evaluation.report.synthesis_sections import impression_sections
from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import Objective
from keras_zskd.impressions.priors import Prior, TotalVariation, priors_of
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.inputs.source import Arrays
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.methods.method import Method, check_choice, check_counts, check_numbers
from keras_zskd.methods.training import fit_distiller
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

AUGMENTATIONS: dict[str, tuple[Any, ...]] = {
    "default": (RandomAffine(), Mixup()),
    "paper": (PaperAugmentation(),),
    "none": (),
}
_REPORTED = 1_000
CANVASES = {"blobs": BlobCanvas(), "uniform": UniformCanvas("rescale")}
# Settings of the released CIFAR-10 code. The code differs from the paper in three ways. Its second
# normalization cancels the smaller beta (we follow the paper, with both scales in effect). It
# starts every batch after the first from the result of the previous one (we start every impression
# from its own noise, as in the paper). It rescales each batch by its common minimum and maximum (we
# rescale each impression by its own).
PAPER = {
    "synthesis_temperature": 20.0,
    "synthesis_steps": 1500,
    "synthesis_rate": 1e-3,
    "canvas": "uniform",
    "jitter": 0,
    "total_variation": 0.0,
    "batch_norm_weight": 0.0,
    "precision": "float32",
    "augmentation": "paper",
    "batch_size": 64,
    "epochs": 500,
    "learning_rate": 1e-3,
    "decay": False,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthesisMethod(Method):
    """Base class of methods that first optimize impressions, and then train a student on them.

    Many impressions with few steps, from different starting points, give a better transfer set than
    few impressions with many steps.

    Args:
        num_impressions: Number of impressions.
        synthesis_temperature: `tau` of the synthesis.
        synthesis_steps: Adam steps per impression.
        synthesis_rate: Adam's learning rate for the variables of the canvas.
        canvas: Starting points of impressions, and how the pixel range is kept: "blobs" or
            "uniform".
        jitter: Random shift in each step, in pixels.
        total_variation: Weight of the prior `TotalVariation`; images only.
        batch_norm_weight: Weight of the prior `BatchNormStatistics`; teachers with batch
            normalization only.
        precision: Precision of the teacher in the synthesis: "auto", "float32" or "bfloat16".
        temperature: `tau` of the distillation.
        augmentation: Augmentation of the student's inputs: "default" (affine maps and mixup),
            "paper" (the 106 versions of the released code) or "none".
        batch_size: Batch size of the training.
        epochs: Epochs of the training.
        learning_rate: Adam's learning rate at the first step of the training.
        decay: Whether the learning rate decays to 0 along a cosine.
    """

    counts = ("num_impressions",)

    num_impressions: int = 40_000
    synthesis_temperature: float = 4.0
    synthesis_steps: int = 30
    synthesis_rate: float = 0.4
    canvas: str = "blobs"
    jitter: int = 2
    total_variation: float = TotalVariation().weight
    batch_norm_weight: float = 0.0
    precision: str = "auto"
    temperature: float = 20.0
    augmentation: str = "default"
    batch_size: int = 256
    epochs: int = 60
    learning_rate: float = 3e-3
    decay: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        check_counts(self, "num_impressions", "batch_size", "epochs")
        check_choice("canvas", self.canvas, CANVASES)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)

    @abc.abstractmethod
    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """Return the objective of the synthesis."""

    def transforms(self) -> Sequence[Transform]:
        """Return the transforms that are applied to impressions before the teacher."""
        return [Jitter(self.jitter)] if self.jitter else []

    def priors(self, teacher: Teacher) -> list[Prior]:
        """Return the priors of the synthesis that apply to the teacher."""
        return priors_of(teacher, self.total_variation, self.batch_norm_weight)

    def generator(
        self, teacher: Teacher, resources: Resources | None = None, more: Sequence[Prior] = ()
    ) -> ImpressionGenerator:
        """Return the generator of impressions, with the priors `more` added."""
        return ImpressionGenerator(
            teacher,
            objective=self.objective(teacher, resources or Resources()),
            priors=[*self.priors(teacher), *more],
            transforms=self.transforms(),
            canvas=CANVASES[self.canvas],
            steps=self.synthesis_steps,
            learning_rate=self.synthesis_rate,
            precision=self.precision,
        )

    def origin(self, count: int) -> Origin:
        """Return the origin of `count` impressions."""
        return Origin.impressions(count)

    def distiller(self, run: Run) -> Distiller:
        """Return the distiller of a new student."""
        return Distiller(
            run.teacher,
            run.new_student(),
            temperature=self.temperature,
            augmentations=AUGMENTATIONS[self.augmentation],
            seed=run.seed,
        )

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        made = run.synthesize(self.generator(run.teacher, run.resources), self.num_impressions)
        seen, held_out = made.split()
        distiller = self.distiller(run)
        fit_distiller(run, distiller, seen, held_out, self)
        return self.trained(run, distiller, [made], seen, held_out)

    def trained(
        self,
        run: Run,
        distiller: Distiller,
        made: Sequence[TransferSet],
        seen: Arrays,
        held_out: np.ndarray,
    ) -> Trained:
        """Return the result of a training on impressions; the report shows the last set."""
        return Trained(
            distiller.student,
            seen,
            held_out,
            self.origin(sum(part.num_impressions for part in made)),
            lambda: impression_sections(
                made[-1].arrays(limit=_REPORTED),
                run.teacher.input_range,
                self.objective(run.teacher, run.resources).temperature,
                {"teacher": run.teacher.model, "student": distiller.student},
                is_multi_label=run.teacher.is_multi_label,
            ),
        )
