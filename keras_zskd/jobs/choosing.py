"""`choose`: find the student that is given as a width, a budget, a name, or a model."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import keras

from keras_zskd.core.errors import invalid
from keras_zskd.core.keras_internals import flat_layers
from keras_zskd.deploy.budget import Budget, widest_within
from keras_zskd.distillation.student_check import check_student
from keras_zskd.models.applications import application, is_application
from keras_zskd.models.graph import with_graph
from keras_zskd.models.teacher import Teacher, load_model


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A student.

    Attributes:
        student: A width for `slim`, or an untrained model.
        facts: For a budget, "budget", "width" and "needs", see `Fitted`; else empty.
    """

    student: float | keras.Model
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def text(self) -> str:
        """A line about a student that was chosen by a budget."""
        needs = self.facts["needs"]
        parts = [f"width {self.facts['width']:g}", f"{needs['parameters']:,} parameters"]
        if "bytes" in needs:
            parts += [f"{needs['bytes']:,} bytes", f"{needs['ms_per_image']:.3f} ms per image"]
        return f"student within {self.facts['budget']}: {', '.join(parts)}"


def choose(
    student: float | keras.Model | str | os.PathLike[str],
    teacher: Teacher,
    seed: int = 0,
    directory: str | os.PathLike[str] | None = None,
) -> Chosen:
    """Find the student that an argument `student` describes.

    Args:
        student: A width in (0, 1]; a budget ("200KB" of the float32 LiteRT file, "50kparams", "1ms" per
            image), for the widest `slim` copy within it; the name of an architecture of
            `keras.applications`, with random weights; a Keras classifier; or the path of one.
        teacher: The teacher, for inputs and outputs.
        seed: Seed of random weights.
        directory: A run directory. If its run had the same budget, its width is used again, since a
            new measurement could give another one.

    Raises:
        InputError: If the student cannot be made, or does not fit the teacher.
    """
    if isinstance(student, str | os.PathLike):
        text = os.fspath(student)
        if (budget := Budget.parse(text)) is not None:
            facts = _earlier(directory, text) or dataclasses.asdict(widest_within(budget, teacher))
            return Chosen(facts["width"], facts)
        if is_application(text) and not os.path.exists(text):
            keras.utils.set_random_seed(seed)
            student = application(
                text, teacher.input_shape, teacher.num_classes, teacher.input_range
            )
        elif not os.path.exists(text) and not pathlib.Path(text).suffix:
            raise invalid(
                "student",
                "be a width such as 0.5, a budget such as 200KB, 50kparams or 1ms, an "
                "architecture of keras.applications such as mobilenet_v2, or the path of a model "
                "file",
                text,
            )
        else:
            student = load_model(text, teacher.safe_mode)
    if isinstance(student, keras.Model):
        student = with_graph(student) if student.built else student
        check_student(teacher, student)
    elif any(isinstance(layer, keras.layers.TFSMLayer) for layer in flat_layers(teacher.prototype)):
        raise invalid(
            "student",
            "be a model for a teacher that is a SavedModel, which has no layers to narrow",
            student,
            fix="Pass an untrained Keras model or its file, from inputs of shape "
            f"{teacher.input_shape} to {teacher.num_classes} classes.",
        )
    return Chosen(student)


def _earlier(directory: str | os.PathLike[str] | None, budget: str) -> dict[str, Any] | None:
    """The student that the run in a directory chose for this budget."""
    path = None if directory is None else pathlib.Path(directory) / "run.json"
    if path is None or not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("chosen", {})
    except ValueError:  # `RunRecord` raises the error.
        return None
    return found if found.get("budget") == budget else None
