"""The console script `keras-zskd`: sets up TensorFlow, and drops the log messages of libraries.

TensorFlow and LiteRT write messages about the machine directly to file descriptor 2. Two libraries
of TensorFlow 2.21 do so while they are loaded, before `TF_CPP_MIN_LOG_LEVEL` takes effect, and
LiteRT ignores it. Importing `keras_zskd` imports TensorFlow, so this module is outside the package.
"""

import contextlib
import importlib.util
import json
import os
import pathlib
import re
import signal
import sys

_REMARK = re.compile(
    rb"I\d{4} [\d:.]+ "  # An info message of TensorFlow. The next two lines accompany some of them.
    rb"|WARNING: All log messages before absl::InitializeLog\(\) is called"
    rb"|To enable the following instructions: "
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
    rb"|fully_quantize: \d+, inference_type: "  # The converter of LiteRT.
)


def launch() -> None:
    """Run the command line; `TF_CPP_MIN_LOG_LEVEL=0` in the environment shows all messages."""
    if _answered(sys.argv[1:]):
        return
    # TensorFlow 2.21 enables oneDNN on recent server processors only. On others with AVX2, its
    # convolutions are faster too.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    is_wanted = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"
    if not is_wanted and sys.stderr is not None:  # It is None where file descriptor 2 is closed.
        _drop_remarks()
    from keras_zskd import cli

    cli.launch()


def _answered(words: list[str]) -> bool:
    """Print help and the list of methods without importing TensorFlow, which takes seconds.

    `docs/generate_help.py` writes the file, and a test compares it with the output of the commands.
    """
    package = importlib.util.find_spec("keras_zskd")
    if package is None or not package.submodule_search_locations:
        return False
    path = pathlib.Path(package.submodule_search_locations[0], "assets", "help.json")
    answers = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    answer = answers.get(" ".join(words))
    if answer is not None:
        sys.stdout.write(answer)
    return answer is not None


def _drop_remarks() -> None:
    """Filter file descriptor 2 line by line in a second process.

    A process, so that the last messages of a library that aborts are not lost. Output of Python to
    `sys.stderr` is not filtered.
    """
    stderr = os.dup(2)
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            _pass_on(reading, {0, 1, stderr, writing} - {reading})
        finally:
            os._exit(0)
    os.dup2(writing, 2)
    os.close(writing)
    os.close(reading)
    encoding = sys.stderr.encoding
    sys.stderr = open(stderr, "w", 1, encoding, "backslashreplace", closefd=False)  # noqa: SIM115


def _pass_on(reading: int, others: set[int]) -> None:
    """Copy every line that is not a log message to file descriptor 2, until all writers close."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Control-C is for the command.
    for descriptor in others:  # So that this process keeps none of them open.
        with contextlib.suppress(OSError):
            os.close(descriptor)
    with open(reading, "rb") as lines:
        for line in lines:
            if not _REMARK.match(line):
                os.write(2, line)
