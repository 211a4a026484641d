"""What every small object of a recipe has in common: it says how it was made, as Keras expects."""

from typing import Any, Self


class Configurable:
    """Base class of objects that Keras can save: `get_config` are the constructor's arguments."""

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, as plain JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The object that `get_config` describes."""
        return cls(**config)
