"""The destination of an export: its format, and how a complete file takes its place."""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator

import tensorflow as tf

from keras_zskd.core.errors import InputError, first_line, invalid
from keras_zskd.deploy.litert_conversion import LITERT_FORMATS

FORMATS = ("saved_model", *LITERT_FORMATS, "onnx")


def find_format(target: pathlib.Path, format: str | None) -> str:
    """Return the format, inferred from the path if it is None; raise an error if they differ."""
    suffix = target.suffix.lower()
    found = {"": "saved_model", ".onnx": "onnx", ".tflite": "litert"}.get(suffix)
    if format is None:
        if found is None:
            raise invalid(
                "path",
                "end in .tflite or .onnx, or have no suffix for a SavedModel",
                str(target),
                fix="Rename it, or pass `format`.",
            )
        named = re.search(r"_([a-z0-9]+)\.tflite$", target.name.lower())
        quantized = f"litert_{named[1]}" if named else ""
        return quantized if quantized in LITERT_FORMATS else found
    if format not in FORMATS:
        raise invalid("format", f"be one of {', '.join(FORMATS)}", format)
    if format != "saved_model" and found != format.partition("_")[0]:
        wanted = ".onnx" if format == "onnx" else ".tflite"
        raise invalid("path", f"end in {wanted} if `format` is {format!r}", str(target))
    return format


def check_target(target: pathlib.Path, format: str) -> None:
    """Raise an error if the target would replace anything but an earlier export."""
    if format != "saved_model":
        is_other = target.is_dir()
    else:
        is_other = target.is_file() or (
            target.is_dir() and any(target.iterdir()) and not (target / "saved_model.pb").is_file()
        )
    if is_other:
        raise InputError(
            "`path` must not exist, or hold an earlier export. Received: "
            f"path={str(target)!r}, which holds something else. Choose another path, or remove it."
        )


@contextlib.contextmanager
def written_to_temporary(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a temporary path next to `target`, which replaces `target` on success or is removed."""
    made = [parent for parent in target.absolute().parents if not parent.exists()]
    workshop = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        temporary = workshop / target.name
        yield temporary
        if target.is_dir():  # os.replace does not replace a directory that is not empty.
            os.replace(target, workshop / "replaced")
        os.replace(temporary, target)
        made = []
    except (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise InputError(
            f"`path` must be writable. Received: path={str(target)!r} ({reason}). Free some space, "
            "or choose another path."
        ) from error
    finally:
        if workshop is not None:
            shutil.rmtree(workshop, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def size_on_disk(path: pathlib.Path) -> int:
    """Return the bytes of a file, or of all files in a directory."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
