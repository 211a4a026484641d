"""Sections that method `best` adds to the report: pictures, their shares, and impressions."""

from collections.abc import Mapping, Sequence

import keras

from keras_zskd.distillation.family_choice import FamilyRatings
from keras_zskd.evaluation.report.picture_sections import picture_section, starts_section
from keras_zskd.evaluation.report.section import Section
from keras_zskd.evaluation.report.synthesis_sections import impression_sections
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.runs.run import Run

_SHOWN = 1_000


def best_sections(
    run: Run,
    ratings: FamilyRatings,
    shares: Mapping[str, float],
    made: TransferSet | None,
    student: keras.Model,
    starts_shown: bool,
    temperature: float,
) -> Sequence[Section]:
    """Create the sections; see `Trained.sections`.

    Args:
        run: The run.
        ratings: Ratings of the picture families.
        shares: Shares of the families that were drawn.
        made: The impressions, or None if there are none.
        student: The trained student.
        starts_shown: Whether to show the pictures that impressions started from.
        temperature: `tau` of the synthesis.
    """
    teacher = run.teacher
    sections = [picture_section(teacher.input_shape, ratings.figures(), shares)]
    if made is None:
        return sections
    arrays = made.arrays(limit=_SHOWN)
    if starts_shown:
        sections.append(starts_section(shares, run.seed, arrays["image"], teacher.input_range))
    models = {"teacher": teacher.model, "student": student}
    return sections + impression_sections(
        arrays, teacher.input_range, temperature, models, is_multi_label=teacher.is_multi_label
    )
