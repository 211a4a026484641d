"""`SynthesisMethod`: impressions of the teacher, stored; then a student trained on them."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.paper_augmentation import PaperAugmentation
from keras_zskd.evaluation.report.synthesis_sections import impression_sections
from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import Objective
from keras_zskd.impressions.priors import TotalVariation, priors_of
from keras_zskd.impressions.transforms import Jitter, Transform
from keras_zskd.methods.method import Method, check_choice, check_counts
from keras_zskd.methods.training import fit_distiller
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

AUGMENTATIONS: dict[str, tuple[Any, ...]] = {
    "default": (RandomAffine(), Mixup()),
    "paper": (PaperAugmentation(),),
    "none": (),
}
_REPORTED = 1_000
CANVASES = {"blobs": BlobCanvas(), "uniform": UniformCanvas("rescale")}
# Settings of the released CIFAR-10 code. Where the paper and its code disagree: the code's second
# normalization cancels the smaller beta (we follow the paper, both scales in effect); the code starts
# every batch after the first from the last one's result (we start every impression from noise of its
# own, as the paper says); the code rescales each batch by its common minimum and maximum (we rescale
# each impression by its own).
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
    """Base class of methods that optimize impressions first.

    More impressions of fewer steps make the better transfer set: many short walks from different
    starts rather than few long ones.

    Args:
        num_impressions: How many.
        synthesis_temperature: `tau` of the synthesis.
        synthesis_steps: Adam steps per impression.
        synthesis_rate: Adam's learning rate, on the variables of the canvas.
        canvas: Where impressions start and how they keep the pixel range: "blobs" or "uniform".
        jitter: Shift between steps, in pixels.
        total_variation: Weight of the prior; images only.
        batch_norm_weight: Weight of the prior; teachers with batch normalization only.
        precision: "auto", "float32" or "bfloat16", of the teacher while impressions form.
        temperature: `tau` of the distillation.
        augmentation: Of what the student sees: "default" (affine maps and mixup), "paper" (the 106
            versions of the released code) or "none".
        batch_size: Of the training.
        epochs: Of the training.
        learning_rate: Adam's, at the first step of the training.
        decay: Whether it falls to 0 along a cosine.
    """

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
        check_counts(self, "num_impressions", "batch_size", "epochs")
        check_choice("canvas", self.canvas, CANVASES)
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)

    @abc.abstractmethod
    def objective(self) -> Objective:
        """What the teacher should do on an impression."""

    def transforms(self) -> Sequence[Transform]:
        """What happens to an impression before the teacher looks."""
        return [Jitter(self.jitter)] if self.jitter else []

    def generator(self, teacher: Teacher) -> ImpressionGenerator:
        """The synthesis."""
        return ImpressionGenerator(
            teacher,
            objective=self.objective(),
            priors=priors_of(teacher, self.total_variation, self.batch_norm_weight),
            transforms=self.transforms(),
            canvas=CANVASES[self.canvas],
            steps=self.synthesis_steps,
            learning_rate=self.synthesis_rate,
            precision=self.precision,
        )

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        made = run.synthesize(self.generator(run.teacher), self.num_impressions)
        seen, held_out = made.split()
        distiller = Distiller(
            run.teacher,
            run.new_student(),
            temperature=self.temperature,
            augmentations=AUGMENTATIONS[self.augmentation],
            seed=run.seed,
        )
        fit_distiller(run, distiller, seen, held_out, self)
        return Trained(
            distiller.student,
            seen,
            held_out,
            Origin.impressions(made.num_impressions),
            lambda: impression_sections(
                made.arrays(limit=_REPORTED),
                run.teacher.input_range,
                self.objective().temperature,
                {"teacher": run.teacher.model, "student": distiller.student},
            ),
        )
