"""Import the user's own modules by name, which runs their code."""

import importlib
import inspect
import os
import sys
from collections.abc import Iterable
from types import ModuleType

import keras

from keras_zskd.core.errors import InputError

_IMPORTED: list[str] = []


def imported_modules() -> list[str]:
    """Return the names that `import_modules` was called with, for other processes."""
    return list(_IMPORTED)


def import_own(module: str) -> ModuleType:
    """Import a module, also from the working directory, as `python -m` does."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return importlib.import_module(module)


def import_modules(modules: Iterable[str]) -> None:
    """Import modules so that model files find their classes and functions, registered or not.

    Args:
        modules: Names such as "my_package.my_module".

    Raises:
        InputError: If one cannot be imported.
    """
    for name in modules:
        try:
            module = import_own(name)
        except Exception as error:  # Whatever the code of the user raises.
            raise InputError(
                "`import` must name modules that can be imported, from the working directory or "
                f"installed. Received: {name!r} ({type(error).__name__}: {error})."
            ) from error
        _IMPORTED.append(name)
        known = keras.saving.get_custom_objects()
        for own, value in vars(module).items():
            is_own = getattr(value, "__module__", None) == module.__name__
            if is_own and (inspect.isclass(value) or inspect.isfunction(value)):
                known.setdefault(own, value)
