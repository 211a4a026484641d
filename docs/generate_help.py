"""Writes keras_zskd/assets/help.json: what the command line prints without importing TensorFlow.

    python docs/generate_help.py [--check]

With `--check`, nothing is written; the exit code is 1 if the file differs from what would be
written.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_zskd.cli import main
from keras_zskd.cli.commands import COMMANDS

FILE = Path(__file__).resolve().parent.parent / "keras_zskd" / "assets" / "help.json"


def answers() -> dict[str, str]:
    """Return what each command line prints, by its words after the program's name."""
    lines = ["", "help", "--help", "-h", "methods", *(f"{name} --help" for name in COMMANDS)]
    found = {}
    for line in lines:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if main(["keras-zskd", *line.split()]):
                raise RuntimeError(f"`keras-zskd {line}` must succeed. See its error above.")
        found[line] = printed.getvalue()
    return found


def write(arguments: list[str]) -> int:
    """Write the file, or check it."""
    text = json.dumps(answers(), indent=1) + "\n"
    if arguments == ["--check"]:
        return int(not FILE.exists() or FILE.read_text(encoding="utf-8") != text)
    FILE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(write(sys.argv[1:]))
