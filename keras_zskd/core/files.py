"""Files that are written in full or not at all, and checks of where they are written."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from keras_zskd.core.errors import invalid


def check_destination(argument: str, path: str | os.PathLike[str]) -> None:
    """Raise an error if no file can be written at a path, before any work; nothing is created.

    Args:
        argument: Name of the argument that the path was given as.
        path: A file, which may exist, and whose directories may be missing.

    Raises:
        InputError: If the path is a directory.
        OSError: If the file or a directory cannot be written, with the message of the system.
    """
    target = pathlib.Path(path).absolute()
    if target.is_dir():
        raise invalid(
            argument, "be a file, not a directory", os.fspath(path), fix="Add the name of a file."
        )
    found = next(part for part in (target, *target.parents) if part.exists())
    if found != target and not found.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(found))
    if not os.access(found, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(found))


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a temporary path with the same suffix, and rename it to `path` once it is written.

    If the block raises an error, `path` does not change and the temporary file is removed. The parent
    directory is created if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: pathlib.Path, text: str) -> None:
    """Write a text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
