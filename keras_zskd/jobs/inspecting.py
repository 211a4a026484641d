"""`inspect`: what a teacher is, and what can be done with it; and what every method is."""

from typing import Any

from keras_zskd.deploy.format_trials import possible_formats
from keras_zskd.methods import METHODS
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


def inspect(teacher: Teacher) -> dict[str, Any]:
    """What the teacher is, and for each method and each format "yes", or "no" and why not."""
    found = teacher.describe()
    for name, method in METHODS.items():
        missing = method().missing(teacher, Resources())
        found[f"method {name}"] = "yes" if missing is None else f"no: {missing}"
    for name, said in possible_formats(teacher).items():
        found[f"format {name}"] = said
    return found


def methods() -> dict[str, dict[str, str]]:
    """For each method what it gives and needs, its presets and settings, and where it comes from."""
    return {
        name: {
            "gives": method.title,
            "needs": " and ".join(["the teacher", *(need.text for need in method().needs)]),
            "presets": ", ".join(method.presets),
            "settings": ", ".join(f"{k}={v}" for k, v in method().get_config().items()),
            "reference": method.reference,
            "published": "; ".join(f"{k}: {v}" for k, v in method.published.items())
            or "no figure on these pairs",
        }
        for name, method in METHODS.items()
    }
