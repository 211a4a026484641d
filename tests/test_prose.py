"""The prose of the repository: standard terms, American spelling, errors in one style."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("keras_zskd", "tests", "benchmarks", "examples", "docs", ".github", ".ci")
FILES = sorted(
    path
    for pattern in ("*.py", "*.md", "*.html", "*.toml", "*.cfg", "*.yml", "Makefile", "run")
    for path in [*ROOT.glob(pattern), *(p for f in FOLDERS for p in (ROOT / f).rglob(pattern))]
    if "_build" not in path.parts and path != Path(__file__).resolve()
)
# What is written, and what is read instead.
WORDS = {
    r"stands?": "is",
    r"beside": "next to",
    r"amid": "in the middle of",
    r"mend(s|ed|ing)?": "fix",
    r"by (itself|themselves)": "alone",
    r"passing names?": "temporary file",
    r"(?<!there )(is|are) no (?!longer|more|less|better|other|such)[a-z]+": "is not a",
    r"(network|teacher|student|model)s? (says?|names)": "predicts",
    r"rising": "increasing",
    r"house|roof|floors?|rooms?": "package, layer",
    r"(normal|optim|initial|quant|summar|general|minim|maxim)is(e|ed|es|ing|ations?|ers?)": "-ize",
    r"colours?|distil": "color, distill",
    r"data[ -]sets?": "dataset",
    r"anew|afresh|shall": "again, must",
}
DIALECT = re.compile(rf"(?<![\w`.\-])({'|'.join(WORDS)})(?![\w`(=\-])", re.IGNORECASE)


def prose_of(path: Path) -> list[tuple[int, str]]:
    """Lines of prose with their numbers: comments and strings of Python, else all lines."""
    lines = list(enumerate(path.read_text(encoding="utf-8").splitlines(), 1))
    if path.suffix != ".py":
        return lines
    strings = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            strings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return [(n, line) for n, line in lines if n in strings or "#" in line]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_prose_uses_standard_terms(path):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match.group(0)!r} in {line.strip()!r}"
        for number, line in prose_of(path)
        for match in DIALECT.finditer(line)
    ]
    assert not found, "\n".join(found)


def literal(node: ast.expr | None) -> str:
    """The text of a string or f-string, with `{expression}` for values; "" for anything else."""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value)
            if isinstance(part, ast.Constant)
            else "{" + ast.unparse(part).lstrip("f").strip("'\"{}") + "}"
            for part in node.values
        )
    return str(node.value) if isinstance(node, ast.Constant) else ""


def raised_errors(path: Path) -> list[tuple[int, str, str]]:
    """Line, name and text of each `raise InputError("...")` and `raise invalid(...)`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            call = node.exc
            name = getattr(call.func, "id", "")
            parts = [*call.args, *(keyword.value for keyword in call.keywords)]
            text = " ".join(filter(None, map(literal, parts)))
            if name in ("InputError", "invalid") and text:
                found.append((node.lineno, name, text))
    return found


ERRORS = [
    (path, *found)
    for path in FILES
    if path.suffix == ".py" and path.is_relative_to(ROOT / "keras_zskd")
    for found in raised_errors(path)
]


@pytest.mark.parametrize(
    ("path", "number", "name", "text"), ERRORS, ids=[f"{p.name}:{n}" for p, n, *_ in ERRORS]
)
def test_errors_say_what_must_hold_and_what_was_received(path, number, name, text):
    if name == "InputError":
        assert re.search(r"Received: |`pip install |\}$", text), text
        # These are written by `invalid`.
        assert not re.search(r"^`(\w+)` must [^{}]+\. Received: \1=\{[^{}]+\}\.", text), text
    if "cli" not in path.parts:
        assert not re.search(r"(?<![\w-])--[a-z]", text), "Errors of the library name no flags."
