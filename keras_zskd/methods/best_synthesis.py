"""The synthesis of method `best`: short, from a canvas that suits the teacher."""

from collections.abc import Mapping
from typing import Any

from keras_zskd.impressions.canvas import BlobCanvas, PictureCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.priors import TotalVariation, priors_of
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets
from keras_zskd.impressions.transforms import Jitter
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import ClassTemplates
from keras_zskd.runs.resources import Resources

# Defaults by canvas.
_DEFAULTS: dict[str, dict[str, float]] = {
    "pictures": {
        "synthesis_steps": 20, "synthesis_rate": 0.15, "total_variation": 1e-4,
        "batch_norm_weight": 0.5,
    },
    "blobs": {
        "synthesis_steps": 30, "synthesis_rate": 0.4, "total_variation": TotalVariation().weight,
        "batch_norm_weight": 0.0,
    },
}  # fmt: skip
# Multi-label teachers need more: after 20 steps, a third of the impressions had no label present.
_STEPS_FOR_LABELS = 60
CANVASES = ("auto", *_DEFAULTS)


def canvas_for(canvas: str, teacher: Teacher) -> str:
    """Return the canvas: "auto" is "pictures" with batch normalization and "blobs" without it.

    Single-label teachers of gray images get "blobs" too: such images show one thing on a plain
    ground more often than a scene.
    """
    if canvas != "auto":
        return canvas
    is_gray = len(teacher.input_shape) == 3 and teacher.input_shape[-1] == 1
    shows_one_thing = is_gray and not teacher.is_multi_label
    return "pictures" if teacher.batch_norms and not shows_one_thing else "blobs"


def best_generator(
    teacher: Teacher, shares: Mapping[str, float], method: Any
) -> ImpressionGenerator:
    """Create the generator of the impressions.

    Args:
        teacher: The teacher.
        shares: Shares of the picture families that impressions start from.
        method: `Best`, or an object with the same settings of the synthesis.
    """
    canvas = canvas_for(method.canvas, teacher)
    defaults = dict(_DEFAULTS[canvas])
    if teacher.is_multi_label:
        defaults["synthesis_steps"] = _STEPS_FOR_LABELS
    given = {name: getattr(method, name) for name in defaults}
    settings = {name: defaults[name] if value is None else value for name, value in given.items()}
    has_templates = ClassTemplates().missing(teacher, Resources()) is None
    return ImpressionGenerator(
        teacher,
        targets=DirichletTargets() if has_templates else OneHotTargets(0.9),
        temperature=method.synthesis_temperature,
        priors=priors_of(teacher, settings["total_variation"], settings["batch_norm_weight"]),
        transforms=[Jitter(2)] if len(teacher.input_shape) == 3 else [],
        canvas=PictureCanvas(dict(shares)) if canvas == "pictures" else BlobCanvas(),
        steps=int(settings["synthesis_steps"]),
        learning_rate=settings["synthesis_rate"],
    )
