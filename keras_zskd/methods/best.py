"""The best student that we can train without data; the default method."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Augmentation, Mixup, Mosaic, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.family_choice import FamilyRatings, rate_families
from keras_zskd.distillation.folded_features import FoldedFeatures
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.procedural_pictures import ProceduralPictures, at_most
from keras_zskd.inputs.source import Arrays, Mixture, Source
from keras_zskd.methods.best_report import best_sections
from keras_zskd.methods.best_synthesis import CANVASES, best_generator, canvas_for
from keras_zskd.methods.method import (
    Method,
    check_choice,
    check_counts,
    check_numbers,
    check_optional_sizes,
    check_range,
)
from keras_zskd.methods.training import CosineDecay, agreements
from keras_zskd.models.graph import scope_name
from keras_zskd.models.slimming.aligned import aligned_layers
from keras_zskd.models.slimming.batch_norms import limit_momentum, repair_batch_norms
from keras_zskd.models.slimming.folding import Folding
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.run import Run
from keras_zskd.runs.sizing import (
    DEFAULT_EXAMPLES,
    DEFAULT_IMPRESSIONS,
    Sizes,
    size_by_time,
    steps_by_time,
)
from keras_zskd.runs.trained import Origin, Trained

# Number of pictures of 32x32x3 values for batch normalization statistics; fewer if they are larger.
_REPAIRED_ON, _FEWEST = 2_000, 200
_HELD_OUT_PICTURES = 1_000
# Largest momentum of batch normalization for random starts. With Keras' 0.99 the moving statistics lag
# behind the weights in trainings of a few hundred steps.
_MOMENTUM = 0.9
_EPOCHS = 20
# Largest share of impressions in a batch, and largest number of times that an impression is used.
# In a long training, pictures, which are always new, are worth more than impressions seen before.
IMPRESSION_SHARE, _MOST_USES = 0.75, 28
# Learning rate of students of at least `_SMALL` parameters, and the largest one.
_RATE, _SMALL, _LARGEST_RATE = 2e-3, 15_000, 1e-2
# Weight of the hints at the first step. On networks without batch normalization and on small
# students, hints made students worse: they cannot match the features of the teacher.
_HINT = 30.0
# Largest number of the teacher's features for one input that hints compare, since all of them are
# in memory at once; more than ResNet-20 has for 32x32 pixels.
_MOST_FEATURES = 2**18
# For multi-label teachers: share of examples that become a mosaic, and of impressions in a batch.
_MOSAIC, _SHARE_FOR_LABELS = 0.7, 0.5


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Best(Method):
    """Starts a student from its teacher, and trains it on impressions and procedural pictures.

    The teacher determines the mixture of picture families (`FamilyRatings.shares`). If it has batch
    normalization, impressions may start from such pictures (`canvas`). The student starts from the
    folded weights of the teacher, with batch normalization statistics estimated on the pictures.
    Each batch mixes impressions and new pictures. Sizes that are not given are chosen so that the
    run takes `minutes`.

    Args:
        minutes: Time for the whole run on this machine, in minutes, 0 or more. With 0, nothing is
            trained, and the folded student is exported. Defaults to 2 for networks as small as
            LeNet-5, and to more, at most 60, for larger ones and for more than 300 classes.
        start: "teacher", "random" as in the papers, or "auto": from the teacher if the student is a
            narrower copy of it.
        families: Picture families: "auto" for the teacher's mixture, or equal shares of "all" or of
            names separated by commas; see `ProceduralPictures`.
        num_impressions: Number of impressions. By default, it is chosen to fit the time.
        steps: Number of training steps, rounded to full epochs of a multiple of eight steps. By
            default, it is chosen to fit the time.
        impression_share: Share of impressions in a batch, from 0 to 1. Defaults to 0.5 for
            multi-label teachers. For others, it defaults to 0.75, or to less in long trainings, in
            which each impression is used 28 times.
        synthesis_temperature: `tau` of the synthesis.
        canvas: Start of the impressions: "pictures", "blobs", or "auto": pictures if the teacher has
            batch normalization, whose prior keeps them natural, and blobs otherwise. Single-label
            teachers of gray images get blobs too.
        synthesis_steps: Adam steps per impression. Defaults to 20 from pictures, 30 from blobs, and
            60 for multi-label teachers, whose labels are rarer.
        synthesis_rate: Adam's learning rate, on the logits of the pixels. Defaults to 0.15 from
            pictures, 0.4 from blobs.
        total_variation: Weight of the prior `TotalVariation`, for images. Defaults to 1e-4 from
            pictures, and to the prior's own default from blobs.
        batch_norm_weight: Weight of the prior `BatchNormStatistics`, for teachers with batch
            normalization. Defaults to 0.5 from pictures, 0 from blobs.
        temperature: `tau` of the distillation.
        hint: Weight of the hints on hidden layers at the first step, 0 or more, for students that
            start from the teacher; see `FoldedFeatures`. It decays to 0 like the learning rate.
            Defaults to 30 for students of at least 15,000 parameters if the teacher has batch
            normalization, and to 0 for others.
        mixup: Share of the examples that are mixed with another one.
        mosaic: Share of the examples that become a mosaic of four. Defaults to 0.7 for multi-label
            teachers, whose inputs may show several small objects, and to 0 for others.
        batch_size: Batch size of the training.
        learning_rate: Adam's learning rate at the first step; it decays to 0 along a cosine.
            Defaults to 2e-3, and for students of fewer than 15,000 parameters to more, up to 1e-2.
    """

    name = "best"
    title = "the best student without data: folded from the teacher, impressions and pictures"
    reference = (
        "parts of Baradad et al., NeurIPS 2021 (pictures), Wang et al., ICLR 2025 (folding), Yin et "
        "al., CVPR 2020 (prior) and Nayak et al., ICML 2019 (targets)"
    )
    for_labels = True
    counts = ("num_impressions", "steps")

    minutes: float | None = None
    start: str = "auto"
    families: str = "auto"
    num_impressions: int | None = None
    steps: int | None = None
    impression_share: float | None = None
    synthesis_temperature: float = 4.0
    canvas: str = "auto"
    synthesis_steps: int | None = None
    synthesis_rate: float | None = None
    total_variation: float | None = None
    batch_norm_weight: float | None = None
    temperature: float = 4.0
    hint: float | None = None
    mixup: float = 0.1
    mosaic: float | None = None
    batch_size: int = 256
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        check_numbers(self)
        check_range("mixup", self.mixup, 0, 1)
        check_counts(self, "batch_size")
        check_choice("start", self.start, ("auto", "teacher", "random"))
        check_choice("canvas", self.canvas, CANVASES)
        check_optional_sizes(self, "num_impressions", "steps")
        if self.impression_share is not None:
            check_range("impression_share", self.impression_share, 0, 1)
        if self.mosaic is not None:
            check_range("mosaic", self.mosaic, 0, 1)

    @property
    def sizes_itself(self) -> bool:
        """See `Method.sizes_itself`; False if both sizes are given and `minutes` is not 0."""
        return self.num_impressions is None or self.steps is None or self.minutes == 0

    def scaled(self, factor: float, counts: Sequence[str] | None = None) -> "Best":
        """See `Method.scaled`; sizes that would be chosen by time get default values first."""
        impressions, steps = self.num_impressions, self.steps
        sized = dataclasses.replace(
            self,
            num_impressions=DEFAULT_IMPRESSIONS if impressions is None else impressions,
            steps=round(DEFAULT_EXAMPLES / self.batch_size) if steps is None else steps,
        )
        return super(Best, sized).scaled(factor, counts)

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        teacher = run.teacher
        ratings = FamilyRatings(**run.keep("families", lambda: vars(rate_families(teacher))))
        shares = ratings.chosen(self.families)
        pictures = ProceduralPictures(teacher.input_shape, teacher.input_range, shares)
        student = run.new_student()
        folding = self._fold(run, student, pictures)
        if folding is None:
            limit_momentum(student, _MOMENTUM)
        weight = self._hint_weight(teacher, student)
        hints = _hints(teacher, folding) if folding and weight else []
        distiller = Distiller(
            teacher,
            student,
            temperature=self.temperature,
            augmentations=self._augmentations(teacher),
            distillation_losses=hints,
            distillation_loss_weights=[weight / max(1, len(hints))] * len(hints),
            seed=run.seed,
        )
        rate = self._learning_rate(student)
        distiller.compile(keras.optimizers.Adam(rate), metrics=[TeacherAgreement()])
        generator = best_generator(teacher, shares, self)
        sizes = size_by_time(
            run,
            self.minutes,
            Sizes(self.num_impressions, self.steps),
            generator,
            distiller,
            pictures,
            self.batch_size,
        )
        unseen = ProceduralPictures(
            teacher.input_shape, teacher.input_range, ratings.left_out(shares)
        )
        held_out = {"agreement_left_out": unseen.images(_HELD_OUT_PICTURES, seed=2**31 - 1)}
        source: Source = pictures
        made, steps = None, sizes.steps or 0
        if sizes.num_impressions:
            made = run.synthesize(generator, sizes.num_impressions)
            seen, held_out["agreement_impressions"] = made.split()
            share = self._share_of(sizes, teacher.is_multi_label)
            source = Mixture((Arrays(seen.arrays["image"]), pictures), (share, 1.0 - share))
            # The share is not changed again, since pictures are compiled for their number in a
            # batch.
            steps = steps_by_time(run, sizes, distiller, source, self.batch_size)
        if steps:
            self._fit(run, distiller, source, steps, rate, held_out)
        starts_shown = canvas_for(self.canvas, teacher) == "pictures"
        images = held_out["agreement_left_out"]
        if len(held_out.get("agreement_impressions", ())):  # None of fewer than ten is held out.
            images = held_out["agreement_impressions"]
        return Trained(
            student,
            source,
            images,
            Origin.pictures(sizes.num_impressions or 0),
            lambda: best_sections(
                run, ratings, shares, made, student, starts_shown, self.synthesis_temperature
            ),
        )

    def _learning_rate(self, student: keras.Model) -> float:
        """Return the learning rate, inversely proportional to the size of a small student."""
        if self.learning_rate is not None:
            return self.learning_rate
        return float(np.clip(_RATE * _SMALL / student.count_params(), _RATE, _LARGEST_RATE))

    def _augmentations(self, teacher: Teacher) -> Sequence[Augmentation]:
        mosaic = self.mosaic
        if mosaic is None:
            mosaic = _MOSAIC if teacher.is_multi_label else 0.0
        tiled = (Mosaic(mosaic),) if mosaic else ()
        return (*tiled, RandomAffine(), Mixup(self.mixup))

    def _share_of(self, sizes: Sizes, is_multi_label: bool) -> float:
        """Return the share of impressions in a batch."""
        if self.impression_share is not None:
            return self.impression_share
        if is_multi_label:
            return _SHARE_FOR_LABELS
        num_examples = max(1, sizes.steps or 0) * self.batch_size
        return min(IMPRESSION_SHARE, _MOST_USES * (sizes.num_impressions or 0) / num_examples)

    def _hint_weight(self, teacher: Teacher, student: keras.Model) -> float:
        """Return the weight of the hints at the first step, for all of them together."""
        if self.minutes == 0:  # Nothing is trained; finding the folds takes seconds.
            return 0.0
        if self.hint is not None:
            return self.hint
        return _HINT if teacher.batch_norms and student.count_params() >= _SMALL else 0.0

    def _fold(self, run: Run, student: keras.Model, pictures: ProceduralPictures) -> Folding | None:
        """Fold the teacher into the student; None if it starts from random weights."""
        if self.start == "random":
            return None
        try:
            folding = Folding(run.teacher.prototype, student)
            folding.initialize()
        except InputError as error:
            if self.start == "teacher":
                raise
            run.say(f"The student starts from random weights. {error}")
            return None
        if run.teacher.batch_norms:
            count = at_most(_REPAIRED_ON, run.teacher.input_shape, least=_FEWEST)
            repair_batch_norms(student, pictures.images(count))
        return folding

    def _fit(
        self,
        run: Run,
        distiller: Distiller,
        source: Source,
        steps: int,
        rate: float,
        held_out: dict[str, np.ndarray],
    ) -> None:
        epochs, steps = _divided(steps)
        decay = CosineDecay(rate, epochs * steps)
        watching = agreements(run, held_out)
        run.fit(distiller, source, epochs, self.batch_size, steps, callbacks=[decay, *watching])


def _hints(teacher: Teacher, folding: Folding) -> list[FoldedFeatures]:
    """Return hints on the last activations whose channels the student has folded."""
    if teacher.prototype is not teacher.original:  # The student is folded from one of several.
        return []
    aligned = aligned_layers(folding)
    names = {layer.name for layer in folding.student.layers}
    if not all(x.student_layer in names for x in aligned):  # They are in a nested model.
        return []
    hints, total = [], 0
    for x in reversed(aligned):
        total += x.num_features
        if total > _MOST_FEATURES:
            break
        # `Teacher.model` has names that TensorFlow accepts.
        name = scope_name(x.teacher_layer)
        hints.append(FoldedFeatures(name, x.student_layer, x.channels))
    return hints


def _divided(steps: int) -> tuple[int, int]:
    """Divide steps into epochs of a multiple of `STEPS_AT_ONCE` steps: `(epochs, steps of each)`.

    These are the most epochs, up to 20, that change the number of steps by at most 2 %, or those
    that change it least, but no fewer than half of the most.
    """
    most = min(_EPOCHS, -(-steps // STEPS_AT_ONCE))
    choices = [
        (epochs, max(1, round(steps / epochs / STEPS_AT_ONCE)) * STEPS_AT_ONCE)
        for epochs in range(most, most // 2, -1)
    ]
    # The first of equal ones, so a change of at most 2 % counts as none.
    return min(choices, key=lambda choice: max(abs(math.prod(choice) - steps), 0.02 * steps))
