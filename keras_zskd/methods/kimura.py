"""Few-shot Learning of Neural Networks by Pseudo Example Optimization (Kimura et al., 2018)."""

import dataclasses
import functools
from collections.abc import Sequence

import keras
import numpy as np

from keras_zskd.core.input_range import nearest_allowed
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.gaussian_processes import GaussianProcesses, fitted
from keras_zskd.distillation.pseudo_examples import (
    Reference,
    TeacherReference,
    answered,
    interpolated,
    labeled,
    moved_uphill,
)
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.batching import divided
from keras_zskd.inputs.source import Arrays, Mixture
from keras_zskd.methods.method import Method, check_choice, check_counts, check_numbers, check_range
from keras_zskd.models.arithmetic import UPDATE
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Images, Need, ScikitLearn
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

_NUM_HELD_OUT = 1_000


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Kimura(Method):
    """A few labeled images, and pseudo-examples that are moved to where the student is wrong.

    `L = (1 / N_L) sum CE(y, f(x_L)) + (1 / N_P) sum lambda_2(x_P) KL(g(x_P), f(x_P))` with the
    fidelity weight `lambda_2 = fidelity exp(-log(fidelity / fidelity_mean) sigma(x) / mean sigma)`.
    Pseudo-examples start as interpolations between pairs of labeled images. Between two trainings,
    a copy of the newest ones ascends the gradient, `x <- x + eps grad_x KL(g(x), f(x))`, and is
    added.

    The paper's reference `g` is an ensemble of Gaussian processes fitted to the labeled images. By
    default, `g` is the teacher, and the entropy of its prediction replaces the standard deviation
    `sigma` of the Gaussian process. Where the paper gives no details, this is our reading: a move
    is one Adam step, each training adds as many pseudo-examples as there were initially (in the
    paper, 1,250 become 10,000 in 8 trainings), and the ensemble has one process per class. The
    default has four times as many pseudo-examples as the paper: their number matters most, and
    longer trainings on the same ones overfit.

    Args:
        num_images: Number of labeled training images, as balanced as possible.
        num_pseudo: Number of pseudo-examples in the first training.
        trainings: Number of trainings; the pseudo-examples are fixed within each.
        epochs: Epochs of each training.
        batch_size: Batch size of each training.
        labeled_by: The reference `g`: "teacher", or "gaussian_processes" as in the paper, which
            needs scikit-learn; see `GaussianProcesses`.
        share: Share of labeled images in a batch.
        fidelity: `lambda_2` where the uncertainty `sigma` is 0.
        fidelity_mean: `lambda_2` where `sigma` is equal to its mean.
        moves: Adam steps on the pixels between two trainings.
        rate_images: Adam's learning rate on pixels scaled to [0, 1].
        learning_rate: Nadam's learning rate for the student.
    """

    name = "kimura"
    title = "a student trained on a few real images and on pseudo-examples made from them"
    reference = (
        "Kimura, Ghahramani, Takeuchi, Iwata, Ueda: Few-shot Learning of Neural Networks from Scratch "
        "by Pseudo Example Optimization, BMVC 2018"
    )
    published = {
        "MNIST, 200 images, in Nayak et al.": 86.70,
        "Fashion-MNIST, 200 images, in Nayak et al.": 72.50,
    }
    presets = {
        "default": {},
        "paper": {
            "num_pseudo": 1_250,
            "learning_rate": 0.02,
            "labeled_by": "gaussian_processes",
        },
    }
    counts = ("num_pseudo",)

    num_images: int = 200
    num_pseudo: int = 5_000
    trainings: int = 8
    epochs: int = 25
    batch_size: int = 128
    labeled_by: str = "teacher"
    share: float = 0.25
    fidelity: float = 1.0
    fidelity_mean: float = 0.5
    moves: int = 1
    rate_images: float = 0.02
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        check_numbers(self, "fidelity", "fidelity_mean")
        check_range("share", self.share, 0.01, 0.99)
        check_counts(self, "num_images", "num_pseudo", "trainings", "epochs", "batch_size", "moves")
        check_choice("labeled_by", self.labeled_by, ("teacher", "gaussian_processes"))

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        images = Images(self.num_images)
        return (images, ScikitLearn()) if self.labeled_by != "teacher" else (images,)

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        few = run.keep("images", functools.partial(_few, run, self.num_images))
        reference = self._reference(run, few)
        distiller = Distiller(run.teacher, run.new_student(), temperature=1.0, seed=run.seed)
        distiller.compile(
            keras.optimizers.Nadam(self.learning_rate), weighted_metrics=[TeacherAgreement()]
        )
        pool = newest = _between(few["image"], self.num_pseudo, run.teacher, run.seed)
        for number in range(self.trainings):
            if number:
                move = functools.partial(self._moved, newest, reference, distiller)
                updates = UPDATE * self.moves * len(newest)
                passes = [(distiller.student, updates)]
                if self.labeled_by == "teacher":
                    passes.append((run.teacher.model, updates))
                newest = run.keep(f"pool-{number}", move, passes=passes)["image"]
                pool = np.concatenate([pool, newest])
            shares = (self.share, 1.0 - self.share)
            # A batch contains each example at most once, so there may be fewer real images in it.
            sizes = divided(self.batch_size, shares)
            real, pseudo = np.maximum(1, np.minimum(sizes, (len(few["image"]), len(pool))))
            images = labeled(few["image"], few["label"], run.teacher, (real + pseudo) / real)
            pseudo_examples = answered(
                pool, reference, self.fidelity, self.fidelity_mean, pseudo / (real + pseudo)
            )
            inputs = Mixture([images, pseudo_examples], shares)
            run.fit(distiller, inputs, self.epochs, self.batch_size, name=f"training-{number + 1}")
        held_out = _between(few["image"], _NUM_HELD_OUT, run.teacher, run.seed + 1)
        origin = Origin.few_images(len(few["image"]), str(run.resources.training_name))
        return Trained(distiller.student, Arrays({"image": pool}), held_out, origin)

    def _reference(self, run: Run, few: dict[str, np.ndarray]) -> Reference:
        if self.labeled_by == "teacher":
            return TeacherReference(run.teacher)
        classes = run.teacher.num_classes
        fit = functools.partial(fitted, few["image"], few["label"], classes)
        return GaussianProcesses(run.keep("reference", fit))

    def _moved(
        self, images: np.ndarray, reference: Reference, distiller: Distiller
    ) -> dict[str, np.ndarray]:
        moved = moved_uphill(images, reference, distiller, self.moves, self.rate_images)
        return {"image": moved}


def _between(images: np.ndarray, count: int, teacher: Teacher, seed: int) -> np.ndarray:
    """Interpolate between images; categorical features get allowed values."""
    between = interpolated(images, count, seed)
    return np.asarray(nearest_allowed(between, teacher.input_range), np.float32)


def _few(run: Run, count: int) -> dict[str, np.ndarray]:
    images, labels = run.resources.images(count, run.teacher, run.seed)
    return {"image": images, "label": labels}
