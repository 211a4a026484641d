"""Writes docs/api.md from the public names of the package: `python docs/generate_api.py`.

With `--check`, nothing is written; the exit code is 1 if the page differs from what would be
written.
"""

import inspect
import os
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_zskd

PAGE = Path(__file__).resolve().parent / "api.md"
HEAD = """# Reference

Every public name, under the name to import it by. Written by `docs/generate_api.py`: the text is
that of the docstrings, so change it there.
"""


def directive(dotted: str, value: object) -> str:
    """Return the directive that documents one public name."""
    if inspect.isclass(value):
        lines = [f".. autoclass:: {dotted}", "   :members:", "   :show-inheritance:"]
    elif inspect.isroutine(value):
        lines = [f".. autofunction:: {dotted}"]
    else:
        # Not autodata, which prints the docstring of the type of a constant that has none.
        lines = [f".. py:data:: {dotted}", f"   :type: {type(value).__name__}"]
        if isinstance(value, Mapping):
            lines += ["", "   " + ", ".join(f"``{key}``" for key in value)]
    return "\n".join(["```{eval-rst}", *lines, "```", ""])


def public(module: types.ModuleType) -> dict[str, object]:
    """Return the public names of a module with their values.

    These are the names in `__all__`. In a module without it, they are the classes and functions
    that it defines itself, and whose names have no leading underscore.
    """
    if hasattr(module, "__all__"):
        names = [name for name in module.__all__ if name != "__version__"]
        return {name: getattr(module, name) for name in names}
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    }


def sections(module: types.ModuleType) -> Iterator[str]:
    """Yield the sections for the public names of a module in order, and for its public modules."""
    values = public(module)
    for name, value in values.items():
        if not inspect.ismodule(value):
            yield f"## {name}\n"
            yield directive(f"{module.__name__}.{name}", value)
    for name, value in values.items():
        if inspect.ismodule(value):
            dotted = f"{module.__name__}.{name}"
            yield f"## {name}\n"
            yield f"```{{eval-rst}}\n.. automodule:: {dotted}\n   :no-members:\n```\n"
            yield from (part.replace("## ", "### ", 1) for part in sections(value))


def main(arguments: list[str]) -> int:
    """Write or check the page."""
    text = "\n".join([HEAD, *sections(keras_zskd)])
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write("docs/api.md is out of date; run `python docs/generate_api.py`\n")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
