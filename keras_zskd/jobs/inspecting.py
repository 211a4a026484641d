"""`inspect`: describe a teacher and what can be done with it. `methods`: describe all methods."""

from typing import Any

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.format_trials import possible_formats
from keras_zskd.evaluation.report.charts import check_picture_path, write_matrix
from keras_zskd.jobs.estimating import estimate
from keras_zskd.methods import METHODS
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources

_WIDTHS = (0.5, 0.25)


def inspect(teacher: Teacher, picture: str | None = None) -> dict[str, Any]:
    """Describe the teacher, the methods and formats that support it, and the cost of `distill`.

    Args:
        teacher: The teacher.
        picture: Also draw the class similarity to this file, .png, .svg or .pdf.

    Returns:
        Values by name; "class_similarity" is the matrix `(K, K)`, for a teacher with class templates.

    Raises:
        InputError: If there is nothing to draw, or the file has another format.
    """
    found = {**teacher.describe(), "input range known by": teacher.range_evidence}
    if picture is not None:
        check_picture_path(picture)
        write_matrix(picture, class_similarity(teacher.templates), _class_names(teacher))
    for name, method in METHODS.items():
        missing = method().missing(teacher, Resources())
        found[f"method {name}"] = "yes" if missing is None else f"no: {missing}"
    for name, result in possible_formats(teacher).items():
        found[f"format {name}"] = result
    for width in _WIDTHS:
        found[f"student {width:g}"] = _parameters(teacher, width)
    found["student"] = "or by a budget (200KB, 50kparams, 1ms) or a name (mobilenet_v2)"
    found["distill at half the width"] = _time_of_distill(teacher)
    if found["class_templates"]:
        found["class_similarity"] = class_similarity(teacher.templates).round(4).tolist()
    return found


def _class_names(teacher: Teacher) -> list[str]:
    return [str(number) for number in range(teacher.num_classes)]


def _parameters(teacher: Teacher, width: float) -> str:
    try:
        return f"{slim(teacher.prototype, width).count_params():,} parameters"
    except InputError as error:
        return f"no: {error}"


def _time_of_distill(teacher: Teacher) -> str:
    try:
        taken = estimate(teacher)
    except InputError as error:
        return f"no: {error}"
    minutes, disk, memory = taken["seconds"] / 60, taken["disk"] / 1e6, taken["memory"] / 1e9
    return f"{minutes:.1f} minutes, {disk:.0f} MB on disk, {memory:.1f} GB of memory"


def methods() -> dict[str, dict[str, str]]:
    """Return, for each method, its result, needs, presets, settings, and references."""
    return {
        name: {
            "result": method.title,
            "needs": " and ".join(["the teacher", *(need.text for need in method().needs)]),
            "presets": ", ".join(method.presets),
            "settings": ", ".join(f"{k}={v}" for k, v in method().get_config().items()),
            "reference": method.reference,
            "published": "; ".join(f"{k}: {v}" for k, v in method.published.items())
            or "no results for these pairs",
        }
        for name, method in METHODS.items()
    }
