"""The best student that we know how to make without data; the default."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Mixup, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.family_choice import FamilyRatings, rate_families
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.evaluation.report.picture_sections import picture_section, starts_section
from keras_zskd.evaluation.report.section import Section
from keras_zskd.evaluation.report.synthesis_sections import impression_sections
from keras_zskd.impressions.canvas import BlobCanvas, PictureCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.priors import TotalVariation, priors_of
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets
from keras_zskd.impressions.transforms import Jitter
from keras_zskd.inputs.batching import STEPS_AT_ONCE
from keras_zskd.inputs.procedural_pictures import ProceduralPictures, at_most
from keras_zskd.inputs.source import Arrays, Mixture, Source
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.methods.method import Method, check_choice, check_counts
from keras_zskd.methods.training import CosineDecay, agreements
from keras_zskd.models import repair_batch_norms
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import ClassTemplates
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.sizing import Sizes, size_by_time
from keras_zskd.runs.trained import Origin, Trained

# Pictures for the statistics of batch normalization, of 32x32x3 values; fewer of larger ones.
_REPAIRED_ON, _FEWEST = 2_000, 200
_HELD_OUT_PICTURES = 1_000
_EPOCHS = 20
# By canvas, where they are not given.
_SYNTHESIS: dict[str, dict[str, float]] = {
    "pictures": {"synthesis_steps": 20, "synthesis_rate": 0.15, "total_variation": 1e-4},
    "blobs": {
        "synthesis_steps": 30, "synthesis_rate": 0.4, "total_variation": TotalVariation().weight,
    },
}  # fmt: skip


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Best(Method):
    """A student that starts from its teacher, on impressions and on pictures drawn by formula.

    The teacher chooses a mixture of families of pictures (`FamilyRatings.shares`). Where it has batch
    normalization, impressions start from such pictures. The student starts from the teacher's weights,
    folded, and its batch normalization statistics are estimated on the pictures. It is trained on
    impressions and fresh pictures in each batch. Time decides how many of them: sizes that are not
    given are chosen so that the run takes `minutes`.

    Args:
        minutes: Of the whole run on this machine, 0 or more. At 0 nothing is trained: the folded
            student is exported. Default: 2 for networks as small as LeNet-5, more for larger ones.
        start: "teacher", "random" as in the papers, or "auto": from the teacher where the student is
            a narrower copy of it.
        families: Of pictures: "auto" for the mixture that the teacher chooses, "all", or names with
            commas between them; the latter two in equal shares; see `ProceduralPictures`.
        num_impressions: How many; default: by time.
        steps: Of the training; default: by time.
        impression_share: Of impressions in each batch.
        synthesis_temperature: `tau` of the synthesis.
        canvas: What impressions start from: "pictures", "blobs", or "auto": pictures where the teacher
            has batch normalization, whose prior keeps them what they are, and blobs elsewhere.
        synthesis_steps: Adam steps per impression; default: 20 from pictures, 30 from blobs.
        synthesis_rate: Adam's learning rate, on the logits of the pixels; default: 0.15 and 0.4.
        total_variation: Weight of the prior; images only; default: 1e-4 and that of `TotalVariation`.
        batch_norm_weight: Weight of the prior; teachers with batch normalization only.
        temperature: `tau` of the distillation.
        mixup: Share of the examples that are mixed with another.
        batch_size: Of the training.
        learning_rate: Adam's, at the first step; it falls to 0 along a cosine.
    """

    name = "best"
    title = "the best student without data: folded from the teacher, impressions and pictures"
    reference = (
        "parts of Baradad et al., NeurIPS 2021 (pictures), Wang et al., ICLR 2025 (folding), Yin et "
        "al., CVPR 2020 (prior) and Nayak et al., ICML 2019 (targets)"
    )
    sizes_itself = True

    minutes: float | None = None
    start: str = "auto"
    families: str = "auto"
    num_impressions: int | None = None
    steps: int | None = None
    impression_share: float = 0.5
    synthesis_temperature: float = 4.0
    canvas: str = "auto"
    synthesis_steps: int | None = None
    synthesis_rate: float | None = None
    total_variation: float | None = None
    batch_norm_weight: float = 0.5
    temperature: float = 4.0
    mixup: float = 0.1
    batch_size: int = 256
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        check_counts(self, "batch_size")
        check_choice("start", self.start, ("auto", "teacher", "random"))
        check_choice("canvas", self.canvas, ("auto", *_SYNTHESIS))
        if not 0 <= self.impression_share <= 1:
            raise InputError(
                "`impression_share` must be a number from 0 to 1. Received: "
                f"impression_share={self.impression_share!r}."
            )
        for name in ("num_impressions", "steps"):
            size = getattr(self, name)
            if size is not None and not (isinstance(size, int) and size >= 0):
                raise InputError(
                    f"`{name}` must be a whole number of 0 or more, or None. Received: {name}={size!r}."
                )
        if self.minutes is not None and not self.minutes >= 0:
            raise InputError(
                f"`minutes` must be a number of 0 or more. Received: minutes={self.minutes!r}."
            )

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        teacher = run.teacher
        ratings = FamilyRatings(**run.keep("families", lambda: vars(rate_families(teacher))))
        shares = self._shares(ratings)
        pictures = ProceduralPictures(teacher.input_shape, teacher.input_range, shares)
        student = self._new_student(run)
        if self.start != "random" and teacher.batch_norms:
            count = at_most(_REPAIRED_ON, teacher.input_shape, least=_FEWEST)
            repair_batch_norms(student, pictures.images(count))
        distiller = Distiller(
            teacher,
            student,
            temperature=self.temperature,
            augmentations=(RandomAffine(), Mixup(self.mixup)),
            seed=run.seed,
        )
        distiller.compile(keras.optimizers.Adam(self.learning_rate), metrics=[TeacherAgreement()])
        generator = self.generator(teacher, shares)
        wanted = Sizes(self.num_impressions, self.steps)
        sizes = size_by_time(
            run, self.minutes, wanted, generator, distiller, pictures, self.batch_size
        )
        source: Source = pictures
        unseen = ProceduralPictures(
            teacher.input_shape, teacher.input_range, ratings.left_out(shares)
        )
        held_out = {"agreement_left_out": unseen.images(_HELD_OUT_PICTURES, seed=2**31 - 1)}
        made = None
        if sizes.num_impressions:
            made = run.synthesize(generator, sizes.num_impressions)
            seen, held_out["agreement_impressions"] = made.split()
            source = Mixture(
                (Arrays(seen.arrays["image"]), pictures),
                (self.impression_share, 1.0 - self.impression_share),
            )
        if sizes.steps:
            epochs = min(_EPOCHS, -(-sizes.steps // STEPS_AT_ONCE))
            steps = max(1, round(sizes.steps / epochs / STEPS_AT_ONCE)) * STEPS_AT_ONCE
            run.fit(
                distiller,
                source,
                epochs,
                self.batch_size,
                steps,
                callbacks=[
                    CosineDecay(self.learning_rate, epochs * steps),
                    *agreements(run, held_out),
                ],
            )
        return Trained(
            student,
            source,
            held_out.get("agreement_impressions", held_out["agreement_left_out"]),
            Origin.pictures(sizes.num_impressions or 0),
            lambda: self._sections(run, ratings, shares, made, student),
        )

    def generator(self, teacher: Teacher, shares: dict[str, float]) -> ImpressionGenerator:
        """The synthesis."""
        canvas = self._canvas(teacher)
        usual = _SYNTHESIS[canvas]
        given = {name: getattr(self, name) for name in usual}
        settings = {name: usual[name] if value is None else value for name, value in given.items()}
        has_templates = ClassTemplates().missing(teacher, Resources()) is None
        return ImpressionGenerator(
            teacher,
            targets=DirichletTargets() if has_templates else OneHotTargets(0.9),
            temperature=self.synthesis_temperature,
            priors=priors_of(teacher, settings["total_variation"], self.batch_norm_weight),
            transforms=[Jitter(2)] if len(teacher.input_shape) == 3 else [],
            canvas=PictureCanvas(shares) if canvas == "pictures" else BlobCanvas(),
            steps=int(settings["synthesis_steps"]),
            learning_rate=settings["synthesis_rate"],
        )

    def _shares(self, ratings: FamilyRatings) -> dict[str, float]:
        if self.families == "auto":
            return ratings.shares()
        names = map(str, ratings.names) if self.families == "all" else self.families.split(",")
        return dict.fromkeys(names, 1.0)

    def _canvas(self, teacher: Teacher) -> str:
        if self.canvas != "auto":
            return self.canvas
        return "pictures" if teacher.batch_norms else "blobs"

    def _new_student(self, run: Run) -> keras.Model:
        if self.start == "random":
            return run.new_student()
        try:
            return run.new_student("teacher")
        except InputError as error:
            if self.start == "teacher":
                raise
            run.say(f"The student starts from random weights. {error}")
            return run.new_student()

    def _sections(
        self,
        run: Run,
        ratings: FamilyRatings,
        shares: dict[str, float],
        made: TransferSet | None,
        student: keras.Model,
    ) -> Sequence[Section]:
        teacher = run.teacher
        sections = [picture_section(teacher.input_shape, ratings.figures(), shares)]
        if made is not None:
            arrays = made.arrays(limit=1_000)
            if self._canvas(teacher) == "pictures":
                sections.append(
                    starts_section(shares, run.seed, arrays["image"], teacher.input_range)
                )
            models = {"teacher": teacher.model, "student": student}
            sections += impression_sections(
                arrays, teacher.input_range, self.synthesis_temperature, models
            )
        return sections
