"""`Method`: a system of the literature, as an object that trains."""

import abc
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Need
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Trained


class Method(Configurable, abc.ABC):
    """Base class of methods.

    The constructor's arguments are the symbols of the paper, all with defaults, kept as attributes of
    the same names, as a dataclass does. A subclass that is registered with Keras and passed to
    `distill` needs nothing else to be a method.

    Attributes:
        name: As on the command line.
        title: What comes out, in a phrase.
        reference: Authors, title, venue.
        published: Accuracies in percent that the authors print, by data set and pair.
        presets: Constructor arguments by name: "default" has none, "paper" are the authors'.
        sizes_itself: Whether it chooses its sizes by time, and says so; others are estimated first.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    published: ClassVar[Mapping[str, float]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    sizes_itself: ClassVar[bool] = False

    @property
    def needs(self) -> Sequence[Need]:
        """What it cannot do without, besides the teacher's logits."""
        return ()

    @abc.abstractmethod
    def train(self, run: Run) -> Trained:
        """Train a student; called again from its first line after every interruption, see `Run`."""

    @classmethod
    def preset(cls, name: str = "default", **settings: Any) -> Self:
        """The method with the settings of a preset, and some of one's own.

        Raises:
            InputError: If there is no such preset or argument.
        """
        if name not in cls.presets:
            raise InputError(
                f"`preset` must be one of {', '.join(cls.presets)} for method {cls.name!r}. "
                f"Received: {name!r}."
            )
        unknown = sorted(set(settings) - set(cls.arguments()))
        if unknown:
            raise InputError(
                f"The settings of method {cls.name!r} are {', '.join(cls.arguments()) or 'none'}. "
                f"Received: {', '.join(unknown)}."
            )
        return cls(**{**cls.presets[name], **settings})

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """Name and default of each constructor argument."""
        return {
            name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()
        }

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """The first thing that is missing, in a sentence; None if it can be trained."""
        found = (need.missing(teacher, resources) for need in self.needs)
        return next((sentence for sentence in found if sentence is not None), None)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, as plain JSON types."""
        values = {name: getattr(self, name) for name in self.arguments()}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}


def check_counts(method: Method, *names: str) -> None:
    """Refuse arguments that are not whole numbers of 1 or more."""
    for name in names:
        count = getattr(method, name)
        if not isinstance(count, int) or count < 1:
            raise InputError(
                f"`{name}` must be a whole number of 1 or more. Received: {name}={count!r}."
            )


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse an argument that is none of the names."""
    names = tuple(choices)
    if value not in names:
        raise InputError(f"`{name}` must be one of {', '.join(names)}. Received: {name}={value!r}.")


def check_optional_sizes(method: Method, *names: str) -> None:
    """Refuse arguments that are neither None nor whole numbers of 0 or more."""
    for name in names:
        size = getattr(method, name)
        if size is not None and not (isinstance(size, int) and size >= 0):
            raise InputError(
                f"`{name}` must be a whole number of 0 or more, or None. Received: {name}={size!r}."
            )


def check_range(name: str, value: float, low: float, high: float | None = None) -> None:
    """Refuse a number that is not from `low` to `high`; None for no upper bound."""
    if not (value >= low and (high is None or value <= high)):
        expected = f"from {low} to {high}" if high is not None else f"of {low} or more"
        raise InputError(f"`{name}` must be a number {expected}. Received: {name}={value!r}.")
