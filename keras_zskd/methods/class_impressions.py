"""Class impressions (Mopuri, Uppala, Babu: Ask, Acquire, and Attack, ECCV 2018)."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.impressions.objectives import ClassLogit, MatchTargets, Objective
from keras_zskd.impressions.targets import OneHotTargets
from keras_zskd.impressions.transforms import AffineJitter, Transform
from keras_zskd.methods.method import check_choice
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod

_MAXIMIZED = ("probability", "logit")


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassImpressions(SynthesisMethod):
    """Inputs of which the teacher is certain, one class each.

    Preset "paper" maximizes the logit of a class from uniform noise, with Adam, under small random
    rotations, scales and crops, and stops each impression at a confidence of its own. The angles and
    scales are left over in the released ZSKD code. The paper's text could not be read; our reading is
    the rest: confidences from U(0.55, 0.99), shifts of 2 pixels as the crop, no color jitter, and the
    canvas, steps, learning rate and training of ZSKD.

    Args:
        maximizes: "probability", the cross-entropy with one-hot targets at `synthesis_temperature`, or
            "logit", as the authors do, see `ClassLogit` and `AffineJitter`.
        And those of `SynthesisMethod`.
    """

    name = "class_impressions"
    title = "a student trained on inputs of which the teacher is certain, one class each"
    reference = (
        "Mopuri, Krishna Uppala, Babu: Ask, Acquire, and Attack: Data-free UAP Generation using "
        "Class Impressions, ECCV 2018"
    )
    presets = {"default": {}, "paper": {**PAPER, "maximizes": "logit"}}

    maximizes: str = "probability"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("maximizes", self.maximizes, _MAXIMIZED)

    def objective(self) -> Objective:
        """See `SynthesisMethod.objective`."""
        if self.maximizes == "logit":
            return ClassLogit()
        return MatchTargets(OneHotTargets(), self.synthesis_temperature)

    def transforms(self) -> Sequence[Transform]:
        """See `SynthesisMethod.transforms`."""
        return [*super().transforms(), *([AffineJitter()] if self.maximizes == "logit" else [])]
