"""`keras-zskd <command>`: one command, one function of the library.

Each command defines its flags on a `FlagValues` of its own, so importing this module claims no flag
name in the process. Exit codes: 0 done; 2 unusable arguments or input, one sentence on standard error;
130 and 143 stopped by Ctrl-C or SIGTERM, one line that says what is kept; anything else is a bug.
"""

import ast
import contextlib
import dataclasses
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags, logging

from keras_zskd.errors import InputError
from keras_zskd.tables import pairs_table, run_summary, write_json


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        summary: A line for `keras-zskd help`.
        define: Defines the flags.
        run: Does the work with the parsed flags and returns what is printed as JSON last, if asked.
    """

    summary: str
    define: Callable[[flags.FlagValues], None]
    run: Callable[[Any], Any]


def launch() -> None:
    """What the console script runs."""
    warnings.showwarning = _warn
    logging.set_verbosity(logging.ERROR)  # TFDS' remarks would tear the progress bars.
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
        return _refuse(f"Command {name!r} was received; expected one of {', '.join(COMMANDS)}.")
    command = COMMANDS[name]
    values = flags.FlagValues()
    command.define(values)
    flags.DEFINE_bool("help", False, "show the flags of this command", flag_values=values)
    flags.DEFINE_string("json", None, "also write the results to this file", flag_values=values)
    try:
        rest = values([f"{argv[0]} {name}", *argv[2:]])
        if values.help:
            print(f"{command.summary}\n\n{values.main_module_help() or values.get_help()}")
            return 0
        if len(rest) > 1:
            raise InputError(f"{rest[1]!r} was received; expected flags only, like --name=value.")
        with _ending_on_sigterm():
            result = command.run(values)
        if values.json:
            write_json(values.json, result)
    except (flags.Error, InputError) as error:
        return _refuse(str(error))
    except OSError as error:
        names = [repr(name) for name in (error.filename, error.filename2) if name is not None]
        return _refuse(": ".join([*names, error.strerror or str(error)]) + ".")
    except KeyboardInterrupt:
        return _stopped(values, 130)
    except _TerminatedError:
        return _stopped(values, 143)
    return 0


class _TerminatedError(BaseException):
    """SIGTERM, as an exception: what is open is closed on the way out."""


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


def _stopped(values: Any, code: int) -> int:
    """Say what is kept and how to go on."""
    kept = getattr(values, "output_dir", None) or getattr(values, "output", None)
    said = "stopped."
    if kept:
        said = (
            f"stopped. What is finished is kept at {kept!r}; the same command goes on from there."
        )
    print(f"keras-zskd: {said}", file=sys.stderr)
    return code


def _warn(message: Any, *args: Any, **kwargs: Any) -> None:
    """A warning as a sentence, like a refusal; where in the code it came from helps no user."""
    del args, kwargs
    print(f"keras-zskd: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _refuse(sentence: str) -> int:
    print(f"keras-zskd: {' '.join(sentence.split())}", file=sys.stderr)
    return 2


def _usage() -> str:
    lines = ["keras-zskd <command> [--flag=value ...]", ""]
    lines += [f"  {name:<11} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "keras-zskd <command> --help shows a command's flags."])


# Flags that more than one command takes.


def _teacher_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("teacher", None, "the trained model, .keras or .h5", flag_values=values)
    flags.DEFINE_list(
        "input_range", None, "low,high of the teacher's pixels, e.g. 0,1", flag_values=values
    )
    flags.DEFINE_bool(
        "safe_mode",
        True,
        "refuse Lambda layers, that is code inside model files",
        flag_values=values,
    )


def _method_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "method", "zskd", "see `keras-zskd methods`, or package.module:Class", flag_values=values
    )
    flags.DEFINE_string("preset", "default", "default or paper", flag_values=values)
    flags.DEFINE_multi_string(
        "set", [], "NAME=VALUE, a setting of the method; may be repeated", flag_values=values
    )
    flags.DEFINE_integer("num_impressions", None, "--set=num_impressions=N", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of everything random", flag_values=values)


def _method(values: Any, **short: Any) -> Any:
    """The method that the flags describe; `short` are settings with flags of their own."""
    from keras_zskd.methods import get_method

    settings: dict[str, Any] = {name: value for name, value in short.items() if value is not None}
    for setting in values.set:
        name, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"`--set` must be --set=NAME=VALUE. Received: --set={setting}.")
        try:
            settings[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[name] = {"true": True, "false": False}.get(text.lower(), text)
    return get_method(values.method).preset(values.preset, **settings)


def _dataset_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("dataset", None, "TFDS name; only ever used to measure", flag_values=values)
    flags.DEFINE_string(
        "data_dir", None, "where TFDS finds its data; default TFDS_DATA_DIR", flag_values=values
    )


def _required(values: Any, name: str) -> str:
    value = getattr(values, name)
    if value in (None, ""):
        raise InputError(f"No --{name} was received; expected --{name}=VALUE.")
    return str(value)


def _range(values: Any) -> tuple[float, float] | None:
    if values.input_range is None:
        return None
    try:
        low, high = (float(value) for value in values.input_range)
    except ValueError as error:
        raise InputError(
            f"--input_range={','.join(values.input_range)} was received; expected two numbers, such "
            "as 0,1."
        ) from error
    return low, high


def _teacher(values: Any) -> Any:
    from keras_zskd.teacher import Teacher

    return Teacher(_required(values, "teacher"), _range(values), values.safe_mode)


# The commands.


def _define_distill(values: flags.FlagValues) -> None:
    _teacher_flags(values)
    flags.DEFINE_string("student", "0.5", "a width in (0, 1], or a model file", flag_values=values)
    _method_flags(values)
    flags.DEFINE_integer("epochs", None, "--set=epochs=N", flag_values=values)
    flags.DEFINE_string("output_dir", None, "the run directory", flag_values=values)
    flags.DEFINE_string(
        "training_dataset", None, "TFDS name, for methods that need data", flag_values=values
    )
    _dataset_flags(values)


def _distill(values: Any) -> Any:
    from keras_zskd.jobs.distilling import distill

    method = _method(values, num_impressions=values.num_impressions, epochs=values.epochs)
    student: Any = values.student
    with contextlib.suppress(ValueError):  # A path, then.
        student = float(student)
    output_dir = _required(values, "output_dir")
    done = distill(
        _teacher(values),
        student,
        method,
        output_dir,
        seed=values.seed,
        training_dataset=values.training_dataset,
        dataset=values.dataset,
        data_dir=values.data_dir,
    )
    print(run_summary(done.record, output_dir))
    return done.record


def _define_demo(values: flags.FlagValues) -> None:
    flags.DEFINE_string("output_dir", "demo-run", "the run directory", flag_values=values)
    flags.DEFINE_integer("num_impressions", None, "default: 20,000", flag_values=values)
    flags.DEFINE_integer("epochs", None, "--set=epochs=N", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of everything random", flag_values=values)


def _demo(values: Any) -> Any:
    from keras_zskd.jobs.demonstrating import demo

    print(
        "The teacher: LeNet-5, trained on MNIST, shipped with this package. Its training data is not "
        "here; the student learns from impressions of the teacher alone.\n"
        "5,000 real digits that neither has seen are used afterwards, to measure."
    )
    given = {"num_impressions": values.num_impressions, "epochs": values.epochs}
    settings = {name: value for name, value in given.items() if value is not None}
    done = demo(values.output_dir, values.seed, **settings)
    print(run_summary(done.record, values.output_dir))
    return done.record


def _define_synthesize(values: flags.FlagValues) -> None:
    _teacher_flags(values)
    _method_flags(values)
    flags.DEFINE_string("output_dir", None, "where the impressions go", flag_values=values)


def _synthesize(values: Any) -> Any:
    method = _method(values, num_impressions=values.num_impressions)
    if not hasattr(method, "generator"):
        raise InputError(
            f"`--method` must be one that stores impressions. Received: {method.name!r}."
        )
    generator = method.generator(_teacher(values))
    impressions = generator.generate(
        method.num_impressions, _required(values, "output_dir"), seed=values.seed
    )
    result = {
        "impressions": impressions.num_impressions,
        "directory": impressions.directory,
        "method": values.method,
        "seed": values.seed,
    }
    print(pairs_table(result))
    return result


def _define_evaluate(values: flags.FlagValues) -> None:
    _teacher_flags(values)
    flags.DEFINE_string("student", None, "the student, .keras, .h5 or .tflite", flag_values=values)
    flags.DEFINE_string("impressions", None, "a transfer set to measure on", flag_values=values)
    _dataset_flags(values)


def _evaluate(values: Any) -> Any:
    from keras_zskd import datasets
    from keras_zskd.evaluation import evaluate
    from keras_zskd.impressions.transfer_set import TransferSet
    from keras_zskd.litert import LiteRTModel
    from keras_zskd.teacher import load_model

    if bool(values.dataset) == bool(values.impressions):
        raise InputError(
            "Expected either --dataset=NAME or --impressions=DIRECTORY; received "
            + ("both." if values.dataset else "neither.")
        )
    teacher = _teacher(values)
    path = _required(values, "student")
    student: Any = (
        LiteRTModel(path)
        if path.endswith(".tflite")
        else load_model(path, safe_mode=values.safe_mode)
    )
    labels = None
    if values.dataset:
        images, labels = datasets.load(
            values.dataset, "test", teacher.input_shape, teacher.input_range, values.data_dir
        )
        print(f"Measured on {values.dataset} (test); used for nothing else.")
    else:
        images = TransferSet(values.impressions).arrays()["image"]
    result = evaluate(teacher, student, images, labels)
    print(pairs_table(result))
    return result


def _define_export(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model", None, "the student, .keras or .h5", flag_values=values)
    flags.DEFINE_string(
        "format", None, "saved_model, litert, litert_int8 or onnx", flag_values=values
    )
    flags.DEFINE_string("output", None, "where to write", flag_values=values)
    flags.DEFINE_string("calibration", None, "impressions, for litert_int8", flag_values=values)
    flags.DEFINE_bool("safe_mode", True, "refuse Lambda layers", flag_values=values)


def _export(values: Any) -> Any:
    from keras_zskd.export import export
    from keras_zskd.impressions.transfer_set import TransferSet
    from keras_zskd.teacher import load_model

    calibration = TransferSet(values.calibration) if values.calibration else None
    model = load_model(_required(values, "model"), safe_mode=values.safe_mode)
    result = export(model, _required(values, "output"), values.format, calibration)
    pairs = dataclasses.asdict(result)
    print(pairs_table(pairs))
    return pairs


def _inspect(values: Any) -> Any:
    from keras_zskd.jobs.inspecting import inspect

    result = inspect(_teacher(values))
    print(pairs_table(result))
    return result


def _methods(values: Any) -> Any:
    from keras_zskd.jobs.inspecting import methods

    result = methods()
    for name, facts in result.items():
        print(f"{name}: {facts['gives']}")
        for key, value in list(facts.items())[1:]:
            print(f"  {key:<10} {value}")
    return result


def _define_train(values: flags.FlagValues) -> None:
    flags.DEFINE_string("architecture", "lenet5", "the model to train", flag_values=values)
    flags.DEFINE_string("dataset", None, "TFDS name; its training split", flag_values=values)
    flags.DEFINE_string(
        "data_dir", None, "where TFDS finds its data; default TFDS_DATA_DIR", flag_values=values
    )
    flags.DEFINE_string("output", None, "the .keras file to write", flag_values=values)
    flags.DEFINE_integer("epochs", 20, "of the training", flag_values=values)
    flags.DEFINE_integer("seed", 0, "of initialisation and order", flag_values=values)
    flags.DEFINE_bool(
        "exclude_demo_digits",
        False,
        "leave out the 5,000 digits that the demo measures on",
        flag_values=values,
    )


def _train(values: Any) -> Any:
    from keras_zskd.jobs.training import train

    result = train(
        values.architecture,
        _required(values, "dataset"),
        _required(values, "output"),
        epochs=values.epochs,
        seed=values.seed,
        data_dir=values.data_dir,
        exclude_demo_digits=values.exclude_demo_digits,
    )
    print(pairs_table(result))
    return result


def _no_flags(values: flags.FlagValues) -> None:
    """A command without flags of its own."""


COMMANDS = {
    "demo": Command("the main job on the teacher that ships with the package", _define_demo, _demo),
    "distill": Command("teacher in, deployable student out", _define_distill, _distill),
    "synthesize": Command("make impressions", _define_synthesize, _synthesize),
    "evaluate": Command("measure a student against its teacher", _define_evaluate, _evaluate),
    "export": Command("write a model as a file that deploys", _define_export, _export),
    "inspect": Command("what a teacher is, and what can be done with it", _teacher_flags, _inspect),
    "methods": Command("every method: needs, gives, where it comes from", _no_flags, _methods),
    "train": Command("train a teacher, or a student from scratch", _define_train, _train),
}
