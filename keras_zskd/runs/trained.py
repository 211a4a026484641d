"""The result of a method: a trained student, and the data it was trained on."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.evaluation.report.section import Section
from keras_zskd.inputs.source import Source


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of the training inputs, for the report and the model card.

    Attributes:
        inputs: The kind of inputs, as a plural noun.
        uses_data: Whether real data was read.
        text: How the inputs were made, in sentences.
    """

    inputs: str
    uses_data: bool
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return the attributes as a dict for `run.json`."""
        return dataclasses.asdict(self)

    @classmethod
    def impressions(cls, count: int) -> "Origin":
        """Optimized inputs, which are stored."""
        return cls(
            "impressions",
            False,
            f"They are synthetic. {count:,} impressions were optimized, pixel by pixel from noise, "
            "until the teacher predicted the requested targets. No original data was read.",
        )

    @classmethod
    def recorded(cls, count: int) -> "Origin":
        """Optimized inputs whose activations follow statistics of the training data."""
        return cls(
            "impressions",
            True,
            f"They are synthetic. {count:,} impressions were optimized, pixel by pixel from noise, "
            "until the teacher's activations followed means and covariances that were recorded on "
            "its training data. No example of it was read.",
        )

    @classmethod
    def pictures(cls, count: int) -> "Origin":
        """Pictures drawn by formula, and `count` impressions."""
        more = (
            f" {count:,} more started as such pictures and were optimized until the teacher "
            "predicted the requested targets."
            if count
            else ""
        )
        return cls(
            "impressions and pictures" if count else "pictures",
            False,
            "They are synthetic. New pictures were drawn by formula for every batch, in a mixture "
            f"that the teacher chose.{more} No original data was read.",
        )

    @classmethod
    def generated(cls) -> "Origin":
        """Inputs from a generator network, which are not stored."""
        return cls(
            "generated images",
            False,
            "They are synthetic. A generator network, trained against the teacher, made them "
            "during the training of the student. None was stored, and no original data was read.",
        )

    @classmethod
    def pool(cls, count: int) -> "Origin":
        """Inputs from several generator networks, which are stored."""
        return cls(
            "generated images",
            False,
            f"They are synthetic. Generator networks, each trained against the teacher, made {count:,} "
            "images, which are stored. No original data was read.",
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
        """Images of a dataset other than the teacher's; labels are not used."""
        return cls(
            "images of another dataset",
            True,
            f"They are real images, without labels: the training split of {name}.",
        )

    @classmethod
    def training_data(cls, name: str) -> "Origin":
        """The whole training split of a dataset."""
        return cls("training images", True, f"They are real images: the training split of {name}.")

    @classmethod
    def few_images(cls, count: int, name: str) -> "Origin":
        """A few real images, and inputs made from them."""
        return cls(
            "images made from real ones",
            True,
            f"{count:,} of them are real images from the training split of {name}; the others were "
            "made from these.",
        )


def _no_sections() -> Sequence[Section]:
    return ()


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of `Method.train`.

    Attributes:
        student: The trained student.
        inputs: The training inputs, also used to calibrate int8.
        held_out: Inputs `(N, *input_shape)` that were not trained on and are not from a test split.
        origin: The origin of the inputs.
        sections: Function that returns sections of the report, called only if one is written.
    """

    student: keras.Model
    inputs: Source
    held_out: np.ndarray
    origin: Origin
    sections: Callable[[], Sequence[Section]] = _no_sections
