"""DeepInversion and Adaptive DeepInversion (Yin et al., CVPR 2020)."""

import dataclasses
import functools
from collections.abc import Sequence

import keras
import numpy as np

from keras_zskd.core.randomness import derived_seed
from keras_zskd.impressions.competition import Competition
from keras_zskd.impressions.objectives import MatchTargets, Objective
from keras_zskd.impressions.priors import BatchNormStatistics, PixelNorm, Prior, priors_of
from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.inputs.batching import steps_of
from keras_zskd.inputs.source import num_held_out
from keras_zskd.methods.method import check_counts
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod
from keras_zskd.methods.training import compile_distiller, fit_distiller
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import BatchNorms, Need
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Trained


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepInversion(SynthesisMethod):
    """Impressions of one class each, with the statistics of the teacher's batch normalization.

    `min_x CE(y, f(x)) + a_tv TV(x) + a_l2 |x|_2 + a_f R(x)`, where `R` is the distance of the
    activations' means and variances from the moving statistics (equations 2 to 4). More than one
    round is Adaptive DeepInversion: from the second round on, `a_c (1 - JS(teacher, student))` is
    added (equation 6), which favors impressions on which the student differs from the teacher.
    After each round, the training of the student continues on all impressions so far.

    For the other arguments see `SynthesisMethod`; `epochs` are those of each round.

    Args:
        total_variation: `a_tv`, on pixels scaled to [0, 1]; see `TotalVariation`.
        pixel_norm: `a_l2`; see `PixelNorm`.
        batch_norm_weight: `a_f`; see `BatchNormStatistics`.
        group_size: Impressions whose statistics are computed together; the batch size in the paper.
        rounds: Number of syntheses, each followed by a training; they share `num_impressions`.
        competition: `a_c`; see `Competition`.
    """

    name = "deepinversion"
    title = "a student trained on impressions with the statistics of batch normalization layers"
    reference = (
        "Yin et al.: Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion, CVPR 2020"
    )
    published = {
        "CIFAR-10, ResNet-34 to ResNet-18, adaptive, in Fang et al. 2022": 93.26,
        "CIFAR-10, WRN-40-2 to WRN-16-1, adaptive, in Fang et al. 2022": 83.04,
    }
    presets = {
        "default": {},
        # The released code for CIFAR-10, which does not include the training of a student.
        "paper": {
            **{name: PAPER[name] for name in ("canvas", "precision")},
            "synthesis_temperature": 1.0, "synthesis_steps": 2000, "synthesis_rate": 0.1,
            "total_variation": 2.5e-5, "batch_norm_weight": 10.0, "group_size": 256,
        },
    }  # fmt: skip

    batch_norm_weight: float = 1.0
    pixel_norm: float = 0.0
    group_size: int = 20
    rounds: int = 1
    competition: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "rounds")

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (BatchNorms(),)

    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """See `SynthesisMethod.objective`."""
        return MatchTargets(OneHotTargets(), self.synthesis_temperature)

    def priors(self, teacher: Teacher) -> list[Prior]:
        """See `SynthesisMethod.priors`."""
        more: list[Prior] = [PixelNorm(self.pixel_norm)] if self.pixel_norm else []
        statistics = BatchNormStatistics(self.batch_norm_weight, self.group_size)
        return [*priors_of(teacher, self.total_variation, 0.0), *more, statistics]

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        distiller = self.distiller(run)
        count = -(-self.num_impressions // self.rounds)
        num_seen = count - num_held_out(count)
        totals = [num_seen * (number + 1) for number in range(self.rounds)]
        # One schedule for all rounds.
        compile_distiller(distiller, self, sum(steps_of(n, self.batch_size) for n in totals))
        made, parts, held_out = [], [], []
        for number in range(self.rounds):
            more = [Competition(distiller.student_logits, self.competition)] if number else []
            suffix = f"-{number + 1}" if number else ""
            generator = self.generator(run.teacher, run.resources, more)
            seed = derived_seed(run.seed, number) >> 1 if number else run.seed
            made.append(run.synthesize(generator, count, f"impressions{suffix}", seed))
            part, rest = made[-1].split()
            parts.append(part)
            held_out.append(rest)
            seen = functools.reduce(lambda first, more: first.followed_by(more), parts)
            unseen = np.concatenate(held_out)
            fit_distiller(run, distiller, seen, unseen, self, f"training{suffix}")
        return self.trained(run, distiller, made, seen, unseen)
