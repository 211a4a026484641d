"""The one exception that says the input, not the code, has to change."""


class InputError(ValueError):
    """Something the caller handed over cannot be used.

    The message is one sentence: what was received, what was expected, and how to mend it. The
    command line prints it and exits with code 2; any other exception that reaches the user is a bug
    of this package.
    """
