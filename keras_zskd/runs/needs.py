"""What a method needs from the teacher and from the user, and what is missing."""

import abc
import importlib.util

from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


class Need(abc.ABC):
    """Base class for the requirements of a method.

    Attributes:
        text: The requirement as a noun phrase.
    """

    text: str

    @abc.abstractmethod
    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """Return a sentence that says what is missing, or None."""


class ClassTemplates(Need):
    """Weights from the penultimate features to the logits (paper, section 3.1)."""

    text = "a Dense layer or 1x1 convolution before the teacher's logits"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        del resources
        try:
            _ = teacher.templates
        except InputError as error:
            return str(error)
        return None


class BatchNorms(Need):
    """Batch normalization layers, which hold statistics of the training data."""

    text = "a teacher with batch normalization"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        del resources
        if teacher.batch_norms:
            return None
        return (
            "`teacher` must have batch normalization layers, whose statistics its inputs "
            f"match. Received: teacher={teacher.name!r} without such layers. Use another method."
        )


class Records(Need):
    """Records of the teacher's activations on its training data."""

    text = "activation records of the teacher"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        try:
            resources.activation_records(teacher)
        except InputError as error:
            return str(error)
        return None


class ScikitLearn(Need):
    """The package that fits Gaussian processes."""

    text = "scikit-learn"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        del teacher, resources
        if importlib.util.find_spec("sklearn") is not None:
            return None
        return "Gaussian processes need scikit-learn. Run `pip install keras-zskd[gp]`."


class TrainingData(Need):
    """Labeled data that the teacher was trained on, or similar data."""

    text = "labeled training data"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        del teacher
        if resources.training_dataset:
            return None
        return (
            f"`training_dataset` must be given for a method that needs {self.text}. Received: "
            "training_dataset=None. Pass the name of a TFDS dataset."
        )


class Images(TrainingData):
    """A few real images with labels.

    Args:
        count: Number of images.
    """

    def __init__(self, count: int):
        self.text = f"{count:,} labeled training images"


class UnlabeledImages(TrainingData):
    """Images of any dataset; its labels are not used."""

    text = "images of another dataset"
