"""docs/errors.md quotes messages that the package really raises."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A quoted message in the first column, with ".." for what varies.
_ROW = re.compile(r"^\| (.* must .*?) \|", re.MULTILINE)


def _text(node: ast.expr) -> str:
    """Return the text of a string expression, with ".." for what is inserted."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return ".."


def _messages() -> list[str]:
    found = []
    for path in (ROOT / "keras_zskd").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "invalid":
                found.append(f"`{_text(node.args[0])}` must {_text(node.args[1])}")
            elif isinstance(node, ast.Constant | ast.JoinedStr):
                found.append(_text(node))
    return [message.replace("`..`", "`teacher`") for message in found if "must" in message]


MESSAGES = _messages()
ROWS = _ROW.findall((ROOT / "docs" / "errors.md").read_text(encoding="utf-8"))


def test_the_page_has_rows():
    assert len(ROWS) > 25


@pytest.mark.parametrize("row", ROWS)
def test_the_message_exists(row):
    parts = [part.strip() for part in row.split("..")]
    assert any(all(part in message for part in parts) for message in MESSAGES)
