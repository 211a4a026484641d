"""Class impressions (Mopuri, Uppala, Babu: Ask, Acquire, and Attack, ECCV 2018)."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.impressions.objectives import ClassLogit, MatchTargets, Objective
from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.impressions.transforms import AffineJitter, Transform
from keras_zskd.methods.method import check_choice
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources

_MAXIMIZED = ("probability", "logit")


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassImpressions(SynthesisMethod):
    """Class impressions: inputs that the teacher assigns to one class with high confidence.

    Preset "paper" maximizes the logit of a class from uniform noise, with Adam, under small random
    rotations, scalings and crops, and stops each impression at its own confidence. The angles and
    scales are taken from the released ZSKD code, which does not use them. The text of the paper was
    not available. The rest is our reading: confidences from U(0.55, 0.99), shifts of 2 pixels as
    the crop, no color jitter, and the canvas, steps, learning rate and training of ZSKD.

    For the other arguments see `SynthesisMethod`.

    Args:
        maximizes: "probability" for the cross-entropy with one-hot targets at
            `synthesis_temperature`, or "logit" as in the paper; see `ClassLogit` and `AffineJitter`.
    """

    name = "class_impressions"
    title = "a student trained on inputs that the teacher assigns to one class with confidence"
    reference = (
        "Mopuri, Krishna Uppala, Babu: Ask, Acquire, and Attack: Data-free UAP Generation using "
        "Class Impressions, ECCV 2018"
    )
    presets = {"default": {}, "paper": {**PAPER, "maximizes": "logit"}}

    maximizes: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("maximizes", self.maximizes, _MAXIMIZED)

    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """See `SynthesisMethod.objective`."""
        if self.maximizes == "logit":
            return ClassLogit()
        return MatchTargets(OneHotTargets(), self.synthesis_temperature)

    def transforms(self) -> Sequence[Transform]:
        """See `SynthesisMethod.transforms`."""
        return [*super().transforms(), *([AffineJitter()] if self.maximizes == "logit" else [])]
