"""`InputError`: the exception for invalid input, and helpers for its message."""

from typing import Any


class InputError(ValueError):
    """Invalid input from the caller.

    The message is one line: what is expected, what was received and how to fix it. The command line
    prints it and exits with code 2. Any other exception that reaches the user is a bug in this
    package.
    """


def invalid(argument: str, expected: str, value: Any, fix: str = "") -> InputError:
    """Return the error of an argument with an invalid value.

    Args:
        argument: Name of the argument.
        expected: What it must be or do, after the word "must".
        value: The received value.
        fix: A sentence about how to fix it, if that does not follow from `expected`.

    Example:
        >>> str(invalid("width", "be in (0, 1]", 2.0, fix="Divide by the largest width."))
        '`width` must be in (0, 1]. Received: width=2.0. Divide by the largest width.'
    """
    received = repr(value) if isinstance(value, str) else str(value)
    return InputError(
        f"`{argument}` must {expected}. Received: {argument}={received}. {fix}".strip()
    )


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, shortened."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
