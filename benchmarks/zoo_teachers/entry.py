"""What the zoo knows about one teacher, and the common parts of their builders."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import layers

Build = Callable[[], Any]


def save_as_keras(model: keras.Model, directory: pathlib.Path) -> Any:
    """Save a model as users do; return its path."""
    path = directory / "teacher.keras"
    model.save(path)
    return str(path)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One teacher of the zoo.

    Attributes:
        name: Unique name.
        kind: Heading under which it is counted.
        build: Function that builds the model, with random weights.
        refused: Whether `Teacher` must refuse it with an `InputError`.
        save: Function from the model and a directory to what `Teacher` is given.
        settings: Further arguments of `Teacher`.
        student: Function that builds the student; by default a copy of half the width is made, or
            `small_student` for a teacher that `slim` cannot narrow.
    """

    name: str
    kind: str
    build: Build
    refused: bool = False
    save: Callable[[Any, pathlib.Path], Any] = save_as_keras
    settings: dict[str, Any] = dataclasses.field(default_factory=lambda: {"input_range": (0, 1)})
    student: Build | None = None


def entries(kind: str, builds: dict[str, Build], **settings: Any) -> list[Entry]:
    """Entries of one kind."""
    return [Entry(name, kind, build, **settings) for name, build in builds.items()]


def stack(
    shape: tuple[int | None, ...],
    parts: Iterable[Any],
    classes: int = 4,
    end: Any = None,
    **named: Any,
) -> keras.Model:
    """A Sequential classifier with a Dense layer at the end."""
    return keras.Sequential(
        [keras.Input(shape), *parts, layers.Dense(classes, activation=end)], **named
    )


def graph(
    shape: tuple[int, ...],
    body: Callable[[Any], Any],
    classes: int = 4,
    end: Any = None,
    **named: Any,
) -> keras.Model:
    """A Functional classifier: `body` of the inputs, then a Dense layer."""
    pixels = keras.Input(shape)
    return keras.Model(pixels, layers.Dense(classes, activation=end)(body(pixels)), **named)


def small_student(input_shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """A student for a teacher that `slim` cannot narrow: one hidden layer."""
    return stack(input_shape, [layers.Flatten(), layers.Dense(8, "relu")], num_classes)
