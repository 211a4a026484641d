"""What a method hands over: a trained student, and what it was trained on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.evaluation.report.section import Section
from keras_zskd.inputs.source import Source


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the training inputs came from: decides what report and model card say.

    Attributes:
        inputs: What they are, in a plural noun.
        uses_data: Whether real data was read.
        text: How they were made, in sentences.
    """

    inputs: str
    uses_data: bool
    text: str

    def as_json(self) -> dict[str, Any]:
        """For `run.json`."""
        return dataclasses.asdict(self)

    @classmethod
    def impressions(cls, count: int) -> "Origin":
        """Inputs that were optimized, and are kept."""
        return cls(
            "impressions",
            False,
            f"They are synthetic. {count:,} impressions were optimized, pixel by pixel from noise, "
            "until the teacher said of them what it was asked to say; no original data was read.",
        )

    @classmethod
    def pictures(cls, count: int) -> "Origin":
        """Pictures drawn by formula, and `count` impressions."""
        more = (
            f" {count:,} more started as such pictures and were optimized until the teacher predicted "
            "what it was asked for."
            if count
            else ""
        )
        return cls(
            "impressions and pictures" if count else "pictures",
            False,
            "They are synthetic. Pictures were drawn by formula, fresh in every batch, in a mixture "
            f"that the teacher chose.{more} No original data was read.",
        )

    @classmethod
    def generated(cls) -> "Origin":
        """Inputs that a generator network made, and that are not kept."""
        return cls(
            "generated images",
            False,
            "They are synthetic. A generator network that was trained against the teacher made them "
            "while the student learned; none was kept, and no original data was read.",
        )

    @classmethod
    def noise(cls) -> "Origin":
        """Uniform noise."""
        return cls(
            "noise images",
            False,
            "They are synthetic: uniform noise, with as many examples of each predicted class as "
            "possible. No original data was read.",
        )

    @classmethod
    def other_images(cls, name: str) -> "Origin":
        """Images of a data set that is not the teacher's own; labels are not used."""
        return cls(
            "images of another data set",
            True,
            f"They are real images, without labels: the training split of {name}.",
        )

    @classmethod
    def training_data(cls, name: str) -> "Origin":
        """The whole training split of a data set."""
        return cls("training images", True, f"They are real: the training split of {name}.")

    @classmethod
    def few_images(cls, count: int, name: str) -> "Origin":
        """A few real images, and inputs that were made of them."""
        return cls(
            "images made of real ones",
            True,
            f"{count:,} of them are real, of the training split of {name}; the others were made of "
            "those.",
        )


def _no_sections() -> Sequence[Section]:
    return ()


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of `Method.train`.

    Attributes:
        student: The trained student.
        inputs: What it was trained on: int8 is calibrated on it.
        held_out: `(N, *input_shape)`, not trained on and not of a test split.
        origin: Where the inputs came from.
        sections: Sections of the report; called only when a report is written.
    """

    student: keras.Model
    inputs: Source
    held_out: np.ndarray
    origin: Origin
    sections: Callable[[], Sequence[Section]] = _no_sections
