"""Data-Free Knowledge Distillation with Soft Targeted Transfer Set Synthesis (Wang, AAAI 2021)."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.impressions.feature_targets import FeatureTargets, StrongFeatures
from keras_zskd.impressions.objectives import MatchTargets, Objective
from keras_zskd.impressions.priors import Prior
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import ClassTemplates, Need
from keras_zskd.runs.resources import Resources


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftTargets(SynthesisMethod):
    """Impressions whose targets are predictions for features drawn from a normal distribution.

    `min_x CE(y, softmax(f(x) / tau)) - activation mean |f_T(x)|`, with the targets `y` of
    `FeatureTargets`. Only the abstract of the paper was available, so this is our reading. Preset
    "paper" has the synthesis and training of ZSKD, with which the paper compares its method.

    For the other arguments see `SynthesisMethod`.

    Args:
        sigma: Standard deviation of the features.
        activation: Weight of the activation loss.
    """

    name = "soft_targets"
    title = "a student trained on impressions with targets from drawn features"
    reference = (
        "Wang: Data-Free Knowledge Distillation with Soft Targeted Transfer Set Synthesis, "
        "AAAI 2021"
    )
    presets = {"default": {}, "paper": {**PAPER, "sigma": 1.5, "activation": 0.05}}

    sigma: float = 1.5
    activation: float = 0.05

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (ClassTemplates(),)

    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """See `SynthesisMethod.objective`."""
        temperature = self.synthesis_temperature
        return MatchTargets(FeatureTargets(self.sigma, temperature), temperature)

    def priors(self, teacher: Teacher) -> list[Prior]:
        """See `SynthesisMethod.priors`."""
        return [*super().priors(teacher), StrongFeatures(self.activation)]
