"""Zero-Shot Knowledge Distillation in Deep Networks (Nayak et al., ICML 2019)."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.impressions.objectives import MatchTargets, Objective
from keras_zskd.impressions.targets import DirichletTargets
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import ClassTemplates, Need
from keras_zskd.runs.resources import Resources


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ZSKD(SynthesisMethod):
    """Data impressions: Dirichlet targets with the class similarity as concentration (section 3).

    For the other arguments see `SynthesisMethod`.

    Args:
        scales: `beta`, the scales of the concentration; the impressions are divided among them.
    """

    name = "zskd"
    title = "a student trained on data impressions (Dirichlet targets from class similarity)"
    reference = (
        "Nayak, Mopuri, Shaj, Babu, Chakraborty: Zero-Shot Knowledge Distillation in Deep Networks, "
        "ICML 2019"
    )
    published = {
        "MNIST, LeNet-5 to LeNet-5-Half": 98.77,
        "Fashion-MNIST, LeNet-5 to LeNet-5-Half": 79.62,
        "CIFAR-10, AlexNet to AlexNet-Half": 69.56,
    }
    for_labels = True
    # "demo" is the default with fewer impressions, for a first try.
    presets = {"default": {}, "demo": {"num_impressions": 20_000}, "paper": PAPER}

    scales: Sequence[float] = (1.0, 0.1)

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (ClassTemplates(),)

    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """See `SynthesisMethod.objective`."""
        return MatchTargets(DirichletTargets(tuple(self.scales)), self.synthesis_temperature)
