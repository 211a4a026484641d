"""`InputError`: the exception for invalid input."""


class InputError(ValueError):
    """Invalid input from the caller.

    The message is one line: what is expected, what was received and how to fix it. The command line
    prints it and exits with code 2. Any other exception that reaches the user is a bug in this
    package.
    """
