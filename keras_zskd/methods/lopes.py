"""Data-Free Knowledge Distillation for Deep Neural Networks (Lopes, Fenu, Starner, 2017)."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.impressions.match_records import LAYERS, MatchRecords
from keras_zskd.impressions.objectives import Objective
from keras_zskd.methods.method import check_choice
from keras_zskd.methods.synthesis_method import PAPER, SynthesisMethod
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Need, Records
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.trained import Origin


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Lopes(SynthesisMethod):
    """Impressions with activations like those recorded on the training data.

    This method needs records of the teacher's activations: means and covariances per class, which
    are computed where the training data is, and distributed with the teacher. See `MatchRecords`
    for the loss.

    For the other arguments see `SynthesisMethod`.

    Args:
        layers: "top" for the logits, "all" for all layers, or "spectral" for a tenth of the graph
            modes of each hidden layer, and the logits (our reading).
        rectified: Whether logits are compared after ReLU, as in the paper; a class with a negative
            logit then gets no gradient.
        synthesis_temperature: Divisor of the activations in the synthesis.
    """

    name = "lopes"
    title = "a student trained on impressions with recorded activations"
    reference = (
        "Lopes, Fenu, Starner: Data-Free Knowledge Distillation for Deep Neural Networks, 2017"
    )
    published = {
        "MNIST, LeNet-5 to LeNet-5-Half, top layer": 77.30,
        "MNIST, LeNet-5 to LeNet-5-Half, all layers": 85.61,
        "MNIST, LeNet-5 to LeNet-5-Half, spectral, all layers": 90.28,
        "MNIST, LeNet-5 to LeNet-5-Half, spectral, layer pairs": 92.47,
    }
    presets = {
        "default": {},
        # The released code for MNIST.
        "paper": {
            **{name: PAPER[name] for name in ("canvas", "jitter", "total_variation", "precision")},
            "layers": "top", "rectified": True, "num_impressions": 64_000,
            "synthesis_steps": 1000, "synthesis_rate": 0.07, "augmentation": "none",
            "batch_size": 64, "epochs": 30, "learning_rate": 1e-3, "decay": False,
        },
    }  # fmt: skip

    layers: str = "all"
    rectified: bool = False
    synthesis_temperature: float = 8.0
    temperature: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("layers", self.layers, LAYERS)

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (Records(),)

    def objective(self, teacher: Teacher, resources: Resources) -> Objective:
        """See `SynthesisMethod.objective`."""
        records = resources.activation_records(teacher)
        return MatchRecords(records, self.layers, self.synthesis_temperature, self.rectified)

    def origin(self, count: int) -> Origin:
        """See `SynthesisMethod.origin`."""
        return Origin.recorded(count)
