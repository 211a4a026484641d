"""Sections of a report on the teacher, available for every method."""

from collections.abc import Sequence

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.report import charts
from keras_zskd.evaluation.report.rendering import render
from keras_zskd.evaluation.report.section import Section
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.teacher import Teacher

_TITLE = "Class similarity"
_CARD = "Cosine of each pair of class templates"


def similarity_sections(
    teacher: Teacher, class_names: Sequence[str] | None = None
) -> list[Section]:
    """Create the section with the class similarity; none for a teacher without class templates.

    Args:
        teacher: The teacher.
        class_names: Names of the classes, in the order of the outputs. Defaults to their indices.
    """
    try:
        similarity = class_similarity(teacher.templates)
    except InputError:
        return []
    names = class_names or [str(number) for number in range(len(similarity))]
    body = render(
        "cards.html",
        text="Cosine of the class templates, the columns of the teacher's last kernel (paper, "
        "equation 2). It shows, without any data, which classes the teacher considers similar.",
        charts={_CARD: charts.matrix(similarity, names, _CARD)},
    )
    return [Section(_TITLE, body)]
