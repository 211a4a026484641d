"""Runs what is compared in new processes, alternating between ours and the peers.

A measure compares functions of its module, called its sides. Each runs in its own process and
returns `{"rates": {variant: [numbers]}}` and other facts worth keeping. The process that starts
them stays small: it imports neither TensorFlow nor PyTorch.
"""

import contextlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

Sides = dict[str, tuple[str, dict[str, Any]]]
"""For each name a function and its arguments, see `run`."""

_MARK = "RESULT: "
# Packages without which nothing can be measured; any other missing package belongs to a peer.
_NEEDED = ("benchmarks", "keras_zskd", "keras", "tensorflow", "numpy")


class SideError(RuntimeError):
    """A side failed or was stopped; the message is the last line that it wrote."""


def run(function: str, timeout: float = 900, **arguments: Any) -> dict[str, Any]:
    """Call `module:function` in a new process.

    Args:
        function: A module of `benchmarks` and a function in it, which returns plain JSON types.
        timeout: Seconds after which the process is killed.
        **arguments: Arguments of the function, as plain JSON types.

    Returns:
        The result of the function, or `{"missing": reason}` if a peer's package is not installed.

    Raises:
        SideError: If the process failed or took too long.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.harness", function, json.dumps(arguments)],
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise SideError(f"not finished after {timeout:.0f} seconds") from error
    finally:
        if process.poll() is None:  # Kill it and its child processes.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for line in output.splitlines():
        if line.startswith(_MARK):
            return dict(json.loads(line.removeprefix(_MARK)))
    said = [line.rstrip() for line in errors.splitlines() if line.strip()] or ["no word"]
    print(*said[-12:], sep="\n", file=sys.stderr)
    raise SideError(f"exit code {process.returncode}: {said[-1].strip()[:300]}")


def alternate(
    sides: Sides, repetitions: int, optional: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Run the sides in turn, repeatedly, so that noise of the machine affects all of them alike.

    Args:
        sides: The function and its arguments, by name; see `run`.
        repetitions: Number of times that each side runs, each in a new process.
        optional: Names of sides that may fail. A failure of any other side is raised.

    Returns:
        By name, `{"rates": {variant: [...]}, ...}` with the rates of all repetitions and the other
        facts of the last one, or `{"missing": reason}`.
    """
    optional = set(optional)
    results: dict[str, dict[str, Any]] = {}
    for repetition in range(repetitions):
        for name, (function, arguments) in sides.items():
            if "missing" in results.get(name, {}):
                continue
            print(f"    {name}, {repetition + 1} of {repetitions}", flush=True)
            try:
                result = run(function, **arguments)
            except SideError as error:
                if name not in optional:
                    raise
                result = {"missing": f"failed: {error}"}
            for variant, earlier in results.get(name, {}).get("rates", {}).items():
                if "rates" in result:
                    result["rates"][variant] = earlier + result["rates"].get(variant, [])
            results[name] = result
    return results


def need_teacher(dataset: str, file: str, architecture: str = "lenet5", **settings: Any) -> None:
    """Train a teacher on a TFDS dataset, unless its file exists; see `keras_zskd.train`."""
    if not pathlib.Path(file).exists():
        print("    the teacher", flush=True)
        job = {"architecture": architecture, "dataset": dataset, "output": file, **settings}
        run("ours:train", timeout=7200, **job)


def rates(call: Callable[[], Any], work: float, seconds: float = 2.0) -> list[float]:
    """Work per second of each of at least two calls in about `seconds`, after a warm-up."""
    call()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < 2 or time.perf_counter() < until:
        begun = time.perf_counter()
        call()
        found.append(work / (time.perf_counter() - begun))
    return found


def _child(function: str, arguments: str) -> None:
    """What `run` starts in the new process."""
    module, name = function.split(":")
    try:
        side = getattr(importlib.import_module(f"benchmarks.{module}"), name)
        result = side(**json.loads(arguments))
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package in _NEEDED:
            raise
        result = {"missing": f"not installed ({package})"}
    print("\n" + _MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    _child(*sys.argv[1:])
