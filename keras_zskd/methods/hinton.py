"""Distilling the Knowledge in a Neural Network (Hinton et al., 2015): the full-data reference."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.distillation.distiller import Distiller
from keras_zskd.methods.method import Method, check_counts, check_numbers
from keras_zskd.methods.training import fit_distiller, training_split
from keras_zskd.runs.needs import Need, TrainingData
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Hinton(Method):
    """Distillation with the teacher's predictions and the labels, on the full training data.

    Args:
        temperature: `T`, the paper's temperature.
        hard_label_weight: `lambda`, the weight of the cross-entropy with the labels.
        batch_size: Batch size of the training.
        epochs: Epochs of the training.
        learning_rate: Adam's learning rate at the first step.
        decay: Whether the learning rate decays to 0 along a cosine.
    """

    name = "hinton"
    title = "a student trained on real data; the reference for zero-shot students"
    reference = "Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network, 2015"
    published = {
        "MNIST, LeNet-5 to LeNet-5-Half, in Nayak et al.": 99.25,
        "Fashion-MNIST, LeNet-5 to LeNet-5-Half, in Nayak et al.": 89.66,
        "CIFAR-10, AlexNet to AlexNet-Half, in Nayak et al.": 80.08,
    }
    presets = {
        "default": {},
        # The settings of the baseline in the ZSKD code.
        "paper": {"batch_size": 64, "epochs": 500, "learning_rate": 1e-3, "decay": False},
    }
    for_labels = True
    counts = ("epochs",)

    temperature: float = 20.0
    hard_label_weight: float = 0.3
    batch_size: int = 128
    epochs: int = 20
    learning_rate: float = 2e-3
    decay: bool = True

    def __post_init__(self) -> None:
        check_numbers(self)
        check_counts(self, "batch_size", "epochs")

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (TrainingData(),)

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        seen, held_out = training_split(run)
        distiller = Distiller(
            run.teacher,
            run.new_student(),
            temperature=self.temperature,
            hard_label_weight=self.hard_label_weight,
        )
        fit_distiller(run, distiller, seen, held_out, self)
        origin = Origin.training_data(str(run.resources.training_name))
        return Trained(distiller.student, seen, held_out, origin)
