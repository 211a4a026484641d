"""Define flags from the signature of a job, and make the job's arguments from the flags.

A parameter of a plain type becomes a flag of the same name, with its default and its description in
the docstring. A few parameters are objects with flags of their own: `teacher`, `student`, `method`,
`cluster`.
"""

import ast
import contextlib
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags

from keras_zskd.core.errors import InputError
from keras_zskd.core.own_modules import import_modules
from keras_zskd.core.workers import Cluster
from keras_zskd.methods import get_method
from keras_zskd.models.teacher import Teacher

# Settings of methods with a flag of their own.
_SHORT: dict[str, type] = {"minutes": float, "num_impressions": int, "epochs": int}
# Parameters that have no flag.
_PYTHON_ONLY = ("callbacks", "verbose")
_DEFINE: dict[type, Any] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define(job: Callable[..., Any], values: flags.FlagValues) -> None:
    """Define the flags of a job."""
    texts = _texts(job)
    for name, default, kind in _parameters(job):
        if name == "teacher":
            flags.DEFINE_string(
                "teacher",
                None,
                "the trained model, .keras, .h5 or a SavedModel directory; several: a.keras,b.keras",
                flag_values=values,
            )
            flags.DEFINE_list(
                "input_range",
                None,
                "low,high of the teacher's inputs, e.g. 0,1, or a JSON file with one range per feature",
                flag_values=values,
            )
            flags.DEFINE_list(
                "input_shape",
                None,
                "shape of one input, e.g. 32,32,3, for a teacher of inputs of any size",
                flag_values=values,
            )
            _define_loading(values)
        elif name == "method":
            flags.DEFINE_string(
                "method", default, "see `keras-zskd methods`, or package.module:Class",
                flag_values=values,
            )  # fmt: skip
            flags.DEFINE_string("preset", "default", "default or paper", flag_values=values)
            flags.DEFINE_multi_string(
                "set",
                [],
                "NAME=VALUE, a setting of the method; may be repeated",
                flag_values=values,
            )
            for short, kind_of_short in _SHORT.items():
                _DEFINE[kind_of_short](short, None, f"--set={short}=N", flag_values=values)
        elif name == "safe_mode":
            _define_loading(values)
        elif name == "cluster":
            flags.DEFINE_string(
                "ray", None, "run on a Ray cluster: auto, local, or an address", flag_values=values
            )
            flags.DEFINE_integer(
                "num_workers", None, "workers on the cluster, as many as fit by default",
                flag_values=values,
            )  # fmt: skip
            flags.DEFINE_float("gpus_per_worker", 0.0, "GPUs of each worker", flag_values=values)
        else:
            default = None if default is inspect.Parameter.empty else default
            default = str(default) if kind is str and default is not None else default
            _DEFINE[kind](name, default, texts[name], flag_values=values)


def arguments(job: Callable[..., Any], values: Any) -> dict[str, Any]:
    """Return the arguments of a job from parsed flags.

    Raises:
        InputError: If a flag is missing or invalid.
    """
    found: dict[str, Any] = {}
    if "import" in values:
        import_modules(values["import"].value)
    for name, default, _ in _parameters(job):
        if name == "cluster":
            found[name] = _cluster(values)
            continue
        value = getattr(values, name)
        if default is inspect.Parameter.empty and value in (None, ""):
            raise InputError(f"`--{name}` must be given. Received: none. Pass --{name}=VALUE.")
        if name == "teacher":
            several = "," in value and not os.path.exists(value)
            value = value.split(",") if several else value
            shape = _shape(values.input_shape)
            value = Teacher(value, _range(values.input_range), values.safe_mode, shape)
        elif name == "method":
            value = _method(values)
        elif name == "student" and default is not inspect.Parameter.empty:
            with contextlib.suppress(ValueError):  # Then it is a path.
                value = float(value)
        found[name] = value
    return found


def _cluster(values: Any) -> Cluster | None:
    if values.ray is None:
        if values.num_workers is not None or values.gpus_per_worker:
            raise InputError(
                "`--ray` must be given with --num_workers and --gpus_per_worker. Received: none. Pass "
                "--ray=auto, --ray=local or --ray=ADDRESS."
            )
        return None
    return Cluster(values.ray, values.num_workers, values.gpus_per_worker)


def _parameters(job: Callable[..., Any]) -> Iterator[tuple[str, Any, type]]:
    """Yield name, default and plain type of each parameter that is a flag."""
    hints = typing.get_type_hints(job)
    for name, parameter in inspect.signature(job).parameters.items():
        if name in _PYTHON_ONLY:
            continue
        hint = hints[name]
        kinds = [kind for kind in (bool, int, float, str) if kind in (hint, *typing.get_args(hint))]
        # A width or the path of a model is parsed as text first.
        kind = str if str in kinds else kinds[0] if kinds else str
        yield name, parameter.default, kind


def _texts(job: Callable[..., Any]) -> dict[str, str]:
    """Return the description of each parameter from the docstring."""
    text = (inspect.getdoc(job) or "").partition("\nArgs:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _define_loading(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "import", [], "your own modules with custom layers, losses or functions of the model file, "
        "e.g. my_package.my_module; their code runs",
        flag_values=values,
    )  # fmt: skip
    flags.DEFINE_bool(
        "safe_mode", True, "reject Lambda layers and SavedModels, that is, code in model files",
        flag_values=values,
    )  # fmt: skip


def _range(given: list[str] | None) -> tuple[float, float] | str | None:
    if given is None:
        return None
    if len(given) == 1 and given[0].endswith(".json"):
        return given[0]
    try:
        low, high = (float(value) for value in given)
    except ValueError as error:
        raise InputError(
            "`--input_range` must be two numbers, such as 0,1, or a .json file. Received: "
            f"--input_range={','.join(given)}."
        ) from error
    return low, high


def _shape(given: list[str] | None) -> tuple[int, ...] | None:
    try:
        return None if given is None else tuple(int(size) for size in given)
    except ValueError as error:
        raise InputError(
            "`--input_shape` must be integers, such as 32,32,3. Received: "
            f"--input_shape={','.join(given or [])}."
        ) from error


def _method(values: Any) -> Any:
    """Return the method that the flags describe."""
    short = {name: getattr(values, name) for name in _SHORT}
    settings: dict[str, Any] = {name: value for name, value in short.items() if value is not None}
    for setting in values.set:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"`--set` must be --set=NAME=VALUE. Received: --set={setting}.")
        try:
            settings[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError):
            settings[name] = {"true": True, "false": False}.get(text.lower(), text)
    return get_method(values.method).preset(values.preset, **settings)
