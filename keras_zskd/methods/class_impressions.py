"""Class impressions (Mopuri et al., ECCV 2018), as the ZSKD paper compares them: one-hot targets."""

import dataclasses

import keras

from keras_zskd.impressions.targets import OneHotTargets, Targets
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassImpressions(SynthesisMethod):
    """Inputs of which the teacher is certain, one class each."""

    name = "class_impressions"
    title = "a student trained on inputs of which the teacher is certain, one class each"
    reference = (
        "Mopuri, Krishna Uppala, Babu: Ask, Acquire, and Attack: Data-free UAP Generation using "
        "Class Impressions, ECCV 2018"
    )
    presets = {"default": {}, "paper": PAPER}

    def targets(self) -> Targets:
        """See `SynthesisMethod.targets`."""
        return OneHotTargets()
