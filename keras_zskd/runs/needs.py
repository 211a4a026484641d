"""What a method needs of a teacher and of its user, and what is missing."""

import abc

from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


class Need(abc.ABC):
    """One thing that a method cannot do without.

    Attributes:
        text: It, in a phrase.
    """

    text: str

    @abc.abstractmethod
    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """What is missing, in a sentence; None if nothing is."""


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


class TrainingData(Need):
    """The data that the teacher was trained on, or such data, with labels."""

    text = "labeled training data"

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """See `Need.missing`."""
        del teacher
        if resources.training_dataset:
            return None
        return (
            f"A method that needs {self.text} must be given a data set. Received: none. Name one with "
            "--training_dataset=NAME (in Python: training_dataset=)."
        )


class Images(TrainingData):
    """A few real images with labels.

    Args:
        count: How many.
    """

    def __init__(self, count: int):
        self.text = f"{count:,} labeled training images"


class UnlabeledImages(TrainingData):
    """Images of any data set; its labels are not used."""

    text = "images of another data set"
