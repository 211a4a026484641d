"""Files that are read and written whole, on a disk, a network share, or `gs://`.

Object stores have neither exclusive creation nor atomic renaming: an object appears once it has
been written in full. Nothing here requires either. `tf.io.gfile` chooses the file system by the
path.
"""

import contextlib
import os
import secrets

import tensorflow as tf


def is_remote(path: str) -> bool:
    """Whether a path is a URL such as `gs://bucket/file`, not in a mounted file system."""
    return "://" in path


def absolute(path: str | os.PathLike[str]) -> str:
    """Return a path that another process on this file system understands."""
    path = os.fspath(path)
    return path if is_remote(path) else os.path.abspath(path)


def read_text(path: str) -> str:
    """Read a text file.

    Raises:
        tf.errors.OpError: If it cannot be read; `tf.errors.NotFoundError` if there is none.
    """
    with tf.io.gfile.GFile(path, "r") as file:
        return str(file.read())


def write_text(path: str, text: str) -> None:
    """Write a text file; a reader sees the old or the new one wherever the file system allows it."""
    if not is_remote(path):
        temporary = os.path.join(os.path.dirname(path), f".{secrets.token_hex(4)}.part")
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(PermissionError, NotImplementedError):
                os.replace(temporary, path)
                return
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
    with tf.io.gfile.GFile(path, "w") as file:
        file.write(text)


def settle(path: str) -> None:
    """Flush a written file to disk, in case the machine fails; object stores already have."""
    if not is_remote(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
