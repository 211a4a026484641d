"""What a method of the literature is to this package: what it needs, and its recipe."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.teacher import Teacher


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of one method: its synthesis and its training.

    Attributes:
        synthesis: From a teacher to the generator of its impressions; None where real data is used.
        num_impressions: How many to make.
        temperature: `tau` of the distillation.
        hard_label_weight: `lambda` of the hard-label term.
        augmentations: From nothing to the augmentations of the training.
        batch_size: Of the training.
        epochs: Of the training.
        learning_rate: Adam's, at the first step.
        decay: Whether it falls to 0 along a cosine over all steps (Loshchilov and Hutter, 2017).
    """

    synthesis: Callable[[Teacher], ImpressionGenerator] | None
    num_impressions: int
    temperature: float
    augmentations: Callable[[], tuple[Any, ...]]
    batch_size: int
    epochs: int
    learning_rate: float
    decay: bool = True
    hard_label_weight: float = 0.0


@dataclasses.dataclass(frozen=True)
class Method:
    """A system of the literature.

    Attributes:
        name: As on the command line.
        needs: What it needs beside the teacher.
        gives: What comes out, in a phrase.
        reference: Authors, title, venue.
        published: Figures that the authors print, with the pair and data set; or "".
        presets: Recipes by name: "default" is our best, "paper" the authors' own.
    """

    name: str
    needs: str
    gives: str
    reference: str
    published: str
    presets: Mapping[str, Recipe]

    @property
    def needs_data(self) -> bool:
        """Whether real training data is needed."""
        return self.presets["default"].synthesis is None
