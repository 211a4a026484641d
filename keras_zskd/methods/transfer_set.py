"""Arbitrary transfer sets (Nayak, Mopuri, Chakraborty, WACV 2021) and noise, as baselines."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from keras_zskd.core.errors import invalid
from keras_zskd.core.input_range import from_unit
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.inputs.source import Arrays, num_held_out
from keras_zskd.methods.method import Method, check_choice, check_counts, check_numbers
from keras_zskd.methods.synthesis_method import AUGMENTATIONS
from keras_zskd.methods.training import fit_distiller
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Need, UnlabeledImages
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

# Candidates for each input that is kept. If a class is rare, more would make little difference.
_CANDIDATES = 4


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ArbitraryTransferSet(Method):
    """Noise, or images of any other dataset, balanced by predicted class.

    The teacher's predictions are the only targets; labels of the dataset are not used.

    Args:
        inputs: "noise", uniform in the teacher's range, or "dataset": the training split of
            `training_dataset`, which should not be the teacher's own.
        num_inputs: Maximum size of the transfer set.
        balanced: Whether to subsample classes that the teacher predicts too often, so that all
            classes have about the same size.
        temperature: `tau` of the distillation.
        augmentation: Augmentation of the student's inputs: "default" (affine maps and mixup),
            "paper" or "none"; see `SynthesisMethod`.
        batch_size: Batch size of the training.
        epochs: Epochs of the training.
        learning_rate: Adam's learning rate at the first step.
        decay: Whether the learning rate decays to 0 along a cosine.
    """

    name = "transfer_set"
    title = "a student trained on noise, or on images of another dataset"
    reference = (
        "Nayak, Mopuri, Chakraborty: Effectiveness of Arbitrary Transfer Sets for Data-free Knowledge "
        "Distillation, WACV 2021"
    )
    for_labels = True
    counts = ("epochs",)

    inputs: str = "noise"
    num_inputs: int = 40_000
    balanced: bool = True
    temperature: float = 20.0
    augmentation: str = "default"
    batch_size: int = 256
    epochs: int = 60
    learning_rate: float = 3e-3
    decay: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        check_counts(self, "num_inputs", "batch_size", "epochs")
        check_choice("inputs", self.inputs, ("noise", "dataset"))
        check_choice("augmentation", self.augmentation, AUGMENTATIONS)

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (UnlabeledImages(),) if self.inputs == "dataset" else ()

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        images = self._transfer_set(run)
        num_seen = len(images) - num_held_out(len(images))
        seen, held_out = Arrays({"image": images[:num_seen]}), images[num_seen:]
        distiller = Distiller(
            run.teacher,
            run.new_student(),
            temperature=self.temperature,
            augmentations=AUGMENTATIONS[self.augmentation],
            seed=run.seed,
        )
        fit_distiller(run, distiller, seen, held_out, self)
        origin = (
            Origin.noise()
            if self.inputs == "noise"
            else Origin.other_images(str(run.resources.training_name))
        )
        return Trained(distiller.student, seen, held_out, origin)

    def _transfer_set(self, run: Run) -> np.ndarray:
        random = np.random.default_rng(run.seed)
        if self.inputs == "noise":
            size = (_CANDIDATES * self.num_inputs if self.balanced else self.num_inputs,)
            candidates = random.random((*size, *run.teacher.input_shape), "float32")
            candidates = np.asarray(from_unit(candidates, run.teacher.input_range))
        else:
            candidates = run.resources.unlabeled_images(run.teacher)
        candidates = random.permutation(candidates)
        if not self.balanced:
            return candidates[: self.num_inputs]
        kept = balanced(predicted(run.teacher, candidates), self.num_inputs)
        if len(kept) < 2:
            raise invalid("num_inputs", "be at least twice the number of classes", self.num_inputs)
        return candidates[kept]


def predicted(teacher: Teacher, images: np.ndarray) -> np.ndarray:
    """Return the predicted classes `(N,)`."""
    logits = teacher.model.predict(images, batch_size=1_000, verbose=0)
    return np.asarray(logits).reshape(len(images), -1).argmax(axis=-1)


def balanced(classes: np.ndarray, count: int) -> np.ndarray:
    """Return indices of at most `count` examples: equally many per class, or all of a rare class.

    The unused share of rare classes is divided among the others, to make the set as large as
    possible.

    Args:
        classes: Class of each example `(N,)`, integers.
        count: Maximum number of examples, 1 or more.

    Returns:
        Increasing indices.
    """
    order = np.argsort(classes, kind="stable")
    _, starts, sizes = np.unique(classes[order], return_index=True, return_counts=True)
    # The largest quota per class with which the set has at most `count` examples.
    quota, left, open_classes = 0, count, sorted(sizes)
    while open_classes and left >= len(open_classes):
        quota = left // len(open_classes)
        if open_classes[0] >= quota:
            break
        left -= open_classes.pop(0)
    kept = [
        order[start : start + min(size, quota)] for start, size in zip(starts, sizes, strict=True)
    ]
    return np.sort(np.concatenate(kept))
