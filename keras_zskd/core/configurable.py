"""`Configurable`: base class of the small objects of a recipe, with a Keras configuration."""

from typing import Any, Self


class Configurable:
    """Base class of objects that Keras can save: `get_config` returns the constructor arguments."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain JSON types."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Create an object from the result of `get_config`."""
        return cls(**config)
