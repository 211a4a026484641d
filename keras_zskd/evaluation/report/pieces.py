"""Pieces of HTML that more than one part of a report uses."""

import html
from collections.abc import Mapping
from typing import Any

_SHORT = 16


def table(entries: Mapping[str, Any]) -> str:
    """Names and values, one pair a row."""
    rows = []
    for name, value in entries.items():
        text = _plain(value)
        kind = "short" if len(text) <= _SHORT else "value"
        rows.append(
            f'<tr><th scope="row">{html.escape(str(name))}</th>'
            f'<td class="{kind}">{html.escape(text)}</td></tr>'
        )
    return f"<table>{''.join(rows)}</table>"


def _plain(value: Any) -> str:
    """A configuration value in a line; a serialised Keras object as its class and arguments."""
    if isinstance(value, Mapping):
        if "class_name" in value and "config" in value:
            return f"{value['class_name']}({_plain(value['config'])})"
        return ", ".join(f"{name}={_plain(entry)}" for name, entry in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_plain(entry) for entry in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def card(title: str, content: str) -> str:
    """A chart with its title."""
    return f'<figure class="card"><h3>{html.escape(title)}</h3>{content}</figure>'
