"""Run a command line and return an exit code.

Exit codes: 0 for success; 2 for invalid arguments or input, with one line on standard error; 130
and 143 if stopped by Ctrl-C or SIGTERM, with one line that says what is kept. Anything else is a
bug.
"""

import contextlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from absl import flags, logging

from keras_zskd.cli.commands import COMMANDS, Command
from keras_zskd.cli.job_flags import arguments, define
from keras_zskd.core.errors import InputError
from keras_zskd.core.files import check_destination
from keras_zskd.core.tables import estimate_table, write_json


def launch() -> None:
    """Run the console script."""
    warnings.showwarning = _warn
    logging.set_verbosity(logging.ERROR)  # Messages of TFDS would break up the progress bars.
    sys.exit(main(sys.argv))


def main(argv: list[str]) -> int:
    """Run a command line.

    Args:
        argv: The program's name, the command, its flags.

    Returns:
        The exit code.
    """
    name = argv[1] if len(argv) > 1 else "help"
    if name in ("help", "--help", "-h"):
        print(_usage())
        return 0
    if name not in COMMANDS:
        return _refuse(f"The command must be one of {', '.join(COMMANDS)}. Received: {name!r}.")
    command = COMMANDS[name]
    # Each command has its own flags, so that importing this module defines no global flags.
    values = flags.FlagValues()
    define(command.job, values)
    if command.rehearsal is not None:
        flags.DEFINE_bool(
            "dry_run",
            False,
            "only estimate time, disk and memory, on this machine alone, without --ray",
            flag_values=values,
        )
    flags.DEFINE_bool("help", False, "show the flags of this command", flag_values=values)
    flags.DEFINE_string("json", None, "also write the results to this file", flag_values=values)
    try:
        rest = values([f"{argv[0]} {name}", *argv[2:]])
        if values.help:
            print(f"{command.summary}\n\n{values.main_module_help() or values.get_help()}")
            return 0
        if len(rest) > 1:
            raise InputError(f"Arguments must be flags, as --name=value. Received: {rest[1]!r}.")
        if values.json:
            check_destination("json", values.json)
        job, show, as_json = command.job, command.show, command.as_json
        if command.rehearsal is not None and values.dry_run:
            job, show, as_json = command.rehearsal, estimate_table, dict
        with _ending_on_sigterm():
            given = arguments(job, values)
            if command.note:
                print(command.note, flush=True)
            result = job(**given)
        print(show(result))
        if values.json:
            write_json(values.json, as_json(result))
        if (sentence := command.incomplete(result)) is not None:
            return _refuse(sentence)
    except (flags.Error, InputError) as error:
        return _refuse(str(error))
    except OSError as error:
        names = [repr(name) for name in (error.filename, error.filename2) if name is not None]
        return _refuse(": ".join([*names, error.strerror or str(error)]) + ".")
    except KeyboardInterrupt:
        return _stopped(command, values, 130)
    except _TerminatedError:
        return _stopped(command, values, 143)
    return 0


class _TerminatedError(BaseException):
    """SIGTERM as an exception, so that open files and locks are released."""


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(command: Command, values: Any, code: int) -> int:
    """Report what is kept, if anything is, and how to resume."""
    kept = getattr(values, "output_dir", None) or getattr(values, "output", None)
    message = "stopped."
    is_resumable = command.resumes and not getattr(values, "dry_run", False)
    if kept and is_resumable and _is_there(kept):
        message = f"stopped. Finished work is kept at {kept!r}. Run the same command to resume."
    print(f"keras-zskd: {message}", file=sys.stderr)
    return code


def _is_there(path: str) -> bool:
    """Whether there is work at a path; remote ones are not looked up in an interruption."""
    return "://" in path or os.path.exists(path) or os.path.exists(f"{path}.training")


def _warn(message: Any, *args: Any, **kwargs: Any) -> None:
    """Show a warning as one line, like an error; its location in the code does not help users."""
    del args, kwargs
    print(f"keras-zskd: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _refuse(sentence: str) -> int:
    print(f"keras-zskd: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = ["keras-zskd <command> [--flag=value ...]", ""]
    lines += [f"  {name:<11} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "keras-zskd <command> --help shows the flags of a command."])
