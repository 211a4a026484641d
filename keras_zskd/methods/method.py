"""`Method`: base class of distillation methods."""

import abc
import inspect
import numbers
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from keras_zskd.core.configurable import Configurable
from keras_zskd.core.errors import InputError, invalid
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Need
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Trained

# What a setting of each type must be, and the values that are.
_KINDS: dict[Any, tuple[str, Any]] = {
    int: ("an integer", numbers.Integral),
    float: ("a number", numbers.Real),
    bool: ("True or False", bool),
    str: ("text", str),
    types.NoneType: ("None", types.NoneType),
}


class Method(Configurable, abc.ABC):
    """Base class of methods.

    The constructor arguments are the symbols of the paper, all with defaults, stored as attributes
    of the same names, as in a dataclass. A subclass can be passed to `distill`; it only needs to
    be registered with Keras.

    Attributes:
        name: Name on the command line.
        title: The result, as a noun phrase.
        reference: Authors, title, venue.
        published: Published accuracies in percent, by dataset and pair.
        presets: Constructor arguments by name: "default" has none, "paper" has those of the
            authors.
        for_labels: Whether it supports multi-label teachers.
        counts: Names of the integer settings to which its cost is proportional, such as the number
            of impressions; see `scaled`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    reference: ClassVar[str]
    published: ClassVar[Mapping[str, float]] = {}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"default": {}}
    for_labels: ClassVar[bool] = False
    counts: ClassVar[Sequence[str]] = ()

    @property
    def sizes_itself(self) -> bool:
        """Whether the method chooses its sizes to fit a time, and reports this.

        For other methods, `distill` prints an estimate first.
        """
        return False

    @property
    def needs(self) -> Sequence[Need]:
        """Requirements in addition to the teacher's logits."""
        return ()

    @abc.abstractmethod
    def train(self, run: Run) -> Trained:
        """Train a student; called again from its first line after an interruption, see `Run`."""

    @classmethod
    def preset(cls, name: str = "default", /, **settings: Any) -> Self:
        """Return the method with the settings of a preset, updated by `settings`.

        Raises:
            InputError: If there is no such preset or argument, or a setting has another type.
        """
        if name not in cls.presets:
            raise invalid(
                "preset", f"be one of {', '.join(cls.presets)} for method {cls.name!r}", name
            )
        unknown = sorted(set(settings) - set(cls.arguments()))
        if unknown:
            raise InputError(
                f"The settings of method {cls.name!r} must be among "
                f"{', '.join(cls.arguments()) or 'none'}. Received: {', '.join(unknown)}."
            )
        method = cls(**{**cls.presets[name], **settings})
        check_types(method)
        return method

    def scaled(self, factor: float, counts: Sequence[str] | None = None) -> Self:
        """Return the method with its counts multiplied by a factor.

        Counts of 64 or more are rounded to a multiple of eight, like the steps of an epoch. Others
        are rounded to an integer of 1 or more. A count of 0 stays 0.

        Args:
            factor: A positive number.
            counts: Names of the settings to scale. Defaults to `Method.counts`.
        """
        settings = {name: getattr(self, name) for name in self.arguments()}
        for name in self.counts if counts is None else counts:
            count = factor * settings[name]
            rounded = 8 * round(count / 8) if count >= 64 else max(1, round(count))
            settings[name] = rounded if count else 0
        return type(self)(**settings)

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """Return the name and default of each constructor argument."""
        return {
            name: parameter.default for name, parameter in inspect.signature(cls).parameters.items()
        }

    def missing(self, teacher: Teacher, resources: Resources) -> str | None:
        """Return a sentence about the first missing requirement; None if nothing is missing."""
        if teacher.is_multi_label and not self.for_labels:
            return (
                "`teacher` must be a single-label classifier for this method. Received: teacher="
                f"{teacher.name!r}, a multi-label classifier. Use method 'best'."
            )
        found = (need.missing(teacher, resources) for need in self.needs)
        return next((sentence for sentence in found if sentence is not None), None)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain JSON types."""
        values = {name: getattr(self, name) for name in self.arguments()}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}


def check_counts(method: Method, *names: str) -> None:
    """Raise an error if an argument is not an integer of 1 or more."""
    for name in names:
        count = getattr(method, name)
        if not isinstance(count, int) or count < 1:
            raise invalid(name, "be an integer of 1 or more", count)


def check_types(method: Method) -> None:
    """Raise an error if a setting is not of its annotated type; only plain types are checked."""
    for name, parameter in inspect.signature(type(method)).parameters.items():
        hint, value = parameter.annotation, getattr(method, name)
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if not all(kind in _KINDS for kind in kinds):
            continue
        if isinstance(value, bool):  # A number in Python, but not a setting of a number.
            is_fitting = bool in kinds
        else:
            is_fitting = isinstance(value, tuple(_KINDS[kind][1] for kind in kinds))
        if not is_fitting:
            raise invalid(name, f"be {' or '.join(_KINDS[kind][0] for kind in kinds)}", value)


def check_numbers(method: Method, *positive: str) -> None:
    """Raise an error if a setting is of another type, negative, or 0 though it must be positive.

    Temperatures and learning rates must be positive, and so must the settings named `positive`. None
    is allowed: it is the default of settings that the method chooses.
    """
    check_types(method)
    for name, value in method.get_config().items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue
        is_rate = name.startswith("rate_") or name.endswith(("_rate", "temperature"))
        if is_rate or name in positive:
            if not value > 0:
                raise invalid(name, "be a positive number", value)
        elif not value >= 0:
            raise invalid(name, "be 0 or more", value)


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise an error if an argument is not one of the choices."""
    names = tuple(choices)
    if value not in names:
        raise invalid(name, f"be one of {', '.join(names)}", value)


def check_optional_sizes(method: Method, *names: str) -> None:
    """Raise an error if an argument is neither None nor an integer of 0 or more."""
    for name in names:
        size = getattr(method, name)
        if size is not None and not (isinstance(size, int) and size >= 0):
            raise invalid(name, "be an integer of 0 or more, or None", size)


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise an error if a number is not between `low` and `high`."""
    if not low <= value <= high:
        raise invalid(name, f"be a number between {low} and {high}", value)
