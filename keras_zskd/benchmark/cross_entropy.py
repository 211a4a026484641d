"""Training on labels alone: the reference "Student-CE" of the tables."""

import dataclasses
from collections.abc import Sequence

import keras

from keras_zskd.methods.method import Method, check_counts
from keras_zskd.methods.training import adam, training_split
from keras_zskd.models.logits import logits_view
from keras_zskd.models.lowering.lowered_model import LoweredModel
from keras_zskd.runs.needs import Need, TrainingData
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained


@keras.saving.register_keras_serializable(package="keras_zskd")
@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy(Method):
    """Training on the labels of the full training data, without the teacher.

    The settings are those of `hinton`.

    Args:
        batch_size: Batch size of the training.
        epochs: Epochs of the training.
        learning_rate: Adam's learning rate at the first step; it decays to 0 along a cosine.
    """

    name = "cross_entropy"
    title = "a student trained on labels alone"
    reference = "the reference of Nayak et al., ICML 2019"
    counts = ("epochs",)

    batch_size: int = 128
    epochs: int = 20
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        check_counts(self, "batch_size", "epochs")

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (TrainingData(),)

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        seen, held_out = training_split(run)
        student = run.new_student()
        logits = LoweredModel(logits_view(student).model)
        logits.compile(
            adam(self.learning_rate, self.epochs * seen.steps(self.batch_size)),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        run.fit(logits, seen, self.epochs, self.batch_size)
        origin = Origin.training_data(str(run.resources.training_name))
        return Trained(student, seen, held_out, origin)
