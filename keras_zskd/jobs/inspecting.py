"""`inspect`: describe a teacher and what can be done with it. `methods`: describe all methods."""

from typing import Any

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.format_trials import possible_formats
from keras_zskd.jobs.estimating import estimate
from keras_zskd.methods import METHODS
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


def inspect(teacher: Teacher) -> dict[str, Any]:
    """Describe the teacher, the methods and formats that support it, and the cost of `distill`."""
    found = {**teacher.describe(), "input range known by": teacher.range_evidence}
    for name, method in METHODS.items():
        missing = method().missing(teacher, Resources())
        found[f"method {name}"] = "yes" if missing is None else f"no: {missing}"
    for name, said in possible_formats(teacher).items():
        found[f"format {name}"] = said
    found["distill at half the width"] = _time_of_distill(teacher)
    return found


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
            "gives": method.title,
            "needs": " and ".join(["the teacher", *(need.text for need in method().needs)]),
            "presets": ", ".join(method.presets),
            "settings": ", ".join(f"{k}={v}" for k, v in method().get_config().items()),
            "reference": method.reference,
            "published": "; ".join(f"{k}: {v}" for k, v in method.published.items())
            or "no results for these pairs",
        }
        for name, method in METHODS.items()
    }
