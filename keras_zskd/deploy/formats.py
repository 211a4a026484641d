"""Files that deploy: SavedModel, LiteRT float32, LiteRT full-integer int8, ONNX.

A file is written beside its destination, executed there, compared with the Keras model, and only
then moved into place: what stands under the name that was asked for has answered at least once.
"""

import contextlib
import dataclasses
import importlib.util
import os
import pathlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.litert_model import LiteRTModel, float_tensors
from keras_zskd.models.graph import inline, share_layer, typed_copy
from keras_zskd.models.teacher import check_classifier

FORMATS = ("saved_model", "litert", "litert_int8", "onnx")
# More images move the quantisation ranges of a small classifier no further.
NUM_CALIBRATION_IMAGES = 500
_MAX_LOADED = 2_000
_BATCH_SIZE = 256


class FormatError(InputError):
    """The model has no form in the format that was asked for."""


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What was written, and what came of executing it.

    Attributes:
        path: The file, or the directory of a SavedModel.
        format: One of "saved_model", "litert", "litert_int8", "onnx".
        bytes: Size on disk, all files of a directory together.
        agreement: Share of the checked inputs on which file and Keras model name one class.
        max_abs_difference: Largest difference of any output from the Keras model's.
        num_checked: How many inputs the two were compared on.
    """

    path: str
    format: str
    bytes: int
    agreement: float
    max_abs_difference: float
    num_checked: int


def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,
    calibration: Any = None,
    input_range: tuple[float, float] | None = None,
    num_checks: int = 1_000,
) -> ExportResult:
    """Write a Keras classifier as a file that deploys, and execute the file before handing it over.

    LiteRT files take one image at a time, `(1, H, W, C)`: a fixed batch keeps every shape known,
    which microcontrollers and GPU delegates want, and costs a phone nothing. They hold builtin
    operators only, no Flex; an int8 file holds integers only, its input and output included.
    SavedModel and ONNX take any batch. A mixed-precision model is exported and compared in float32.

    Args:
        model: Functional or Sequential classifier; it is not changed.
        path: Where to write. An earlier file, or an earlier SavedModel, is replaced.
        format: One of "saved_model", "litert", "litert_int8", "onnx". By default read from the
            path: `_int8.tflite`, `.tflite`, `.onnx`, and no suffix for a SavedModel.
        calibration: Images to quantise and to compare with: a transfer set, or an array
            `(N, H, W, C)`. "litert_int8" needs it: the ranges of its activations are measured on
            500 of them, in equal numbers of each class where the labels are known.
        input_range: `(low, high)` of the uniform noise that fills up where `calibration` has fewer
            than `num_checks` images. Defaults to the range of `calibration`, else (0, 1).
        num_checks: Least number of inputs to compare on, positive. Defaults to 1,000.

    Returns:
        An `ExportResult`.

    Raises:
        InputError: If model, path, format or calibration cannot be used, or a package is missing.
        FormatError: If the model has no form in this format; an `InputError` too.
        RuntimeError: If a float32 file answers differently from the Keras model; it is not kept.

    Example:
        >>> import tempfile
        >>> student = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
        ...                             keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     result = export(student, directory + "/student.tflite", num_checks=10)
        >>> result.format, result.agreement
        ('litert', 1.0)

    See `keras.Model.export` for the same formats unexecuted, and with Flex operators allowed.
    """
    check_classifier(model, role="model")
    target = pathlib.Path(os.fspath(path))
    format = _find_format(target, format)
    _check_target(target, format)
    if num_checks < 1:
        raise InputError(f"num_checks={num_checks} was received; expected a positive number.")
    shape = tuple(model.inputs[0].shape[1:])
    images, labels, input_range = _load_calibration(calibration, shape, input_range)
    if format == "litert_int8" and not len(images):
        raise InputError(
            "No calibration images were received; expected some for int8, whose ranges are "
            "measured on them, so pass calibration=impressions (on the command line --calibration)."
        )
    reference = _for_inference(_in_float32(model))
    checks = _fill_up(images, num_checks, shape, input_range)
    expected = _in_batches(lambda x: reference(x, training=False), checks)
    if not np.isfinite(expected).all():
        raise InputError(
            f"Model {model.name!r} answers with NaN or infinite values; expected a trained model, "
            "so load a checkpoint from before its training diverged."
        )
    with _written_beside(target) as temporary:
        if format == "saved_model":
            _write_saved_model(reference, temporary)
            loaded = tf.saved_model.load(str(temporary))  # Its functions do not keep it alive.
            answer = loaded.serve
        elif format == "onnx":
            answer = _write_onnx(reference, temporary)
        else:
            chosen = None
            if format == "litert_int8":
                chosen = images[_balanced(labels, len(images), NUM_CALIBRATION_IMAGES)]
            temporary.write_bytes(_converted(reference, chosen))
            answer = LiteRTModel(temporary).predict
        actual = _in_batches(answer, checks)
        agreement, difference = _compare(expected, actual, format, target)
        size = _size(temporary)
    return ExportResult(str(target), format, size, agreement, difference, len(checks))


def _in_float32(model: keras.Model) -> keras.Model:
    """The model with one plain input and output, or a float32 copy where it computes in less."""
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    # An InputLayer names the global policy as its own and computes nothing.
    layers = inline(plain, share_layer).layers
    dtypes = {x.compute_dtype for x in layers if not isinstance(x, keras.layers.InputLayer)}
    is_float32 = dtypes <= {"float32"} and plain.inputs[0].dtype == "float32"
    return plain if is_float32 else typed_copy(plain)


def _for_inference(model: keras.Model) -> keras.Model:
    """The model, which must be told: random layers of images are in training by default."""
    pixels = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(pixels, model(pixels, training=False), name=model.name)


def _find_format(target: pathlib.Path, format: str | None) -> str:
    suffix = target.suffix.lower()
    found = {"": "saved_model", ".onnx": "onnx", ".tflite": "litert"}.get(suffix)
    if format is None:
        if found is None:
            raise InputError(
                f"Path {str(target)!r} was received; expected the suffix .tflite, .onnx, or none "
                "for a SavedModel, or else format= (on the command line --format)."
            )
        return "litert_int8" if target.name.lower().endswith("_int8.tflite") else found
    if format not in FORMATS:
        raise InputError(f"format={format!r} was received; expected one of {', '.join(FORMATS)}.")
    if format != "saved_model" and found != format.removesuffix("_int8"):
        wanted = ".onnx" if format == "onnx" else ".tflite"
        raise InputError(
            f"Path {str(target)!r} was received for format {format!r}; expected a name that "
            f"ends in {wanted}."
        )
    return format


def _check_target(target: pathlib.Path, format: str) -> None:
    """Refuse to replace what is not an earlier export."""
    if format != "saved_model":
        is_other = target.is_dir()
    else:
        is_other = target.is_file() or (
            target.is_dir() and any(target.iterdir()) and not (target / "saved_model.pb").is_file()
        )
    if is_other:
        raise InputError(
            f"Path {str(target)!r} holds something else than an earlier export; expected a free "
            "path, so choose another one or remove what is there."
        )


@contextlib.contextmanager
def _written_beside(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path beside `target` that takes its place if all goes well and leaves nothing otherwise."""
    made = [parent for parent in target.absolute().parents if not parent.exists()]
    workshop = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        workshop = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        temporary = workshop / target.name
        yield temporary
        if target.is_dir():  # os.replace puts no directory over another that is not empty.
            os.replace(target, workshop / "replaced")
        os.replace(temporary, target)
        made = []
    except (OSError, tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise InputError(
            f"{str(target)!r} could not be written ({reason}); expected a directory that can be "
            "written to and has room, so free some space or choose another path."
        ) from error
    finally:
        if workshop is not None:
            shutil.rmtree(workshop, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


def _write_saved_model(model: keras.Model, path: pathlib.Path, batch: int | None = None) -> None:
    spec = keras.InputSpec(shape=(batch, *model.inputs[0].shape[1:]), dtype="float32", name="image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(str(path), format="tf_saved_model", verbose=False, input_signature=[spec])


def _write_onnx(model: keras.Model, path: pathlib.Path) -> Callable[[np.ndarray], Any]:
    missing = [name for name in ("onnx", "tf2onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX was asked for, which needs the missing package {' and '.join(missing)}; install "
            "it with `pip install keras-zskd[onnx]`."
        )
    spec = keras.InputSpec(shape=(None, *model.inputs[0].shape[1:]), dtype="float32", name="image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(str(path), format="onnx", verbose=False, input_signature=[spec])
        if importlib.util.find_spec("onnxruntime") is not None:
            import onnxruntime

            session: Any = onnxruntime.InferenceSession(path.read_bytes())
        else:  # ONNX's own evaluator: slow, but it comes with the package and defines the format.
            from onnx.reference import ReferenceEvaluator

            session = ReferenceEvaluator(str(path))
    return lambda images: session.run(None, {"image": images})[0]


def _converted(model: keras.Model, calibration: np.ndarray | None) -> bytes:
    """The bytes of a LiteRT file; int8 if there are calibration images."""
    if calibration is not None and _has_loop(model):
        # Its calibration reads memory that is not there, and the process ends.
        raise FormatError(
            f"Model {model.name!r} has no full-integer form: LiteRT cannot measure ranges inside of a "
            "loop, as recurrent layers have; export it as litert, or use a student without that layer."
        )
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The converter warns of what it does by itself for int8.
        _write_saved_model(model, pathlib.Path(directory) / "model", batch=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(f"{directory}/model")
        # Keras' own export allows Flex operators, which the usual runtimes cannot execute.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if calibration is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: (
                [image[np.newaxis]] for image in calibration
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        try:
            content = converter.convert()
        except Exception as error:  # The converter raises many kinds for one thing: it cannot.
            flex = re.search(r"(?:TF Select|Custom|Flex) ops: ([\w, ]+)", str(error))
            found = f"needs {flex[1].strip()}" if flex else f"stopped it: {_first_line(error)}"
            raise FormatError(
                f"Model {model.name!r} has no LiteRT form of builtin operators only ({found}); "
                "replace that layer, or export as saved_model."
            ) from error
        if calibration is None:
            return content
        floating = float_tensors(content)
        if floating:
            # The converter slips a dequantised operator between two quantised ones without a word,
            # as it does for tf.nn.local_response_normalization, which has no integer kernel. Such a
            # file is not even prepared for execution, which ends the process where a scale is NaN.
            named = sorted(name for name in floating if name and not name.startswith("tfl."))
            raise FormatError(
                f"Model {model.name!r} has no full-integer form: LiteRT would compute "
                f"{', '.join(named) or 'a part'} in float32; export it as litert, or use a student "
                "without that layer."
            )
        return content


def _has_loop(model: keras.Model) -> bool:
    """Whether the graph of the model has a `while`, of a recurrent layer or of any other."""
    call = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32)
    graph = call.get_concrete_function(spec).graph.as_graph_def()
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in ("While", "StatelessWhile") for body in bodies for node in body)


def _load_calibration(
    calibration: Any, shape: tuple[int, ...], input_range: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float]]:
    """Images, their labels if known, and the range that noise may be drawn from."""
    labels = None
    if calibration is None:
        images = np.zeros((0, *shape), np.float32)
        found = (0.0, 1.0)
    elif hasattr(calibration, "arrays"):
        arrays = calibration.arrays(_MAX_LOADED)
        images, labels = np.asarray(arrays["image"], np.float32), arrays.get("label")
        found = calibration.input_range
    else:
        images = np.asarray(calibration, np.float32)
        found = (float(images.min()), float(images.max())) if images.size else (0.0, 1.0)
    if images.shape[1:] != shape or not np.isfinite(images).all():
        raise InputError(
            f"Calibration images of shape {images.shape} were received; expected finite numbers of "
            f"shape (N, {', '.join(map(str, shape))}), made for this model."
        )
    low, high = found if input_range is None else input_range
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InputError(f"input_range=({low}, {high}) was received; expected finite low < high.")
    return images, labels, (float(low), float(high))


def _balanced(labels: np.ndarray | None, available: int, wanted: int) -> np.ndarray:
    """Indices of `wanted` images, equally many of each class; spread evenly if unlabelled."""
    if available <= wanted:
        return np.arange(available)
    if labels is None:
        return np.linspace(0, available - 1, wanted).round().astype(int)
    labels = np.asarray(labels)
    turn = np.zeros(available, int)  # How many of its class come before an image.
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    return np.sort(np.lexsort((labels, turn))[:wanted])


def _fill_up(
    images: np.ndarray, wanted: int, shape: tuple[int, ...], input_range: tuple[float, float]
) -> np.ndarray:
    """The images, with uniform noise after them where there are fewer than `wanted`."""
    num_noise = max(0, wanted - len(images))
    noise = np.random.default_rng(0).uniform(*input_range, (num_noise, *shape))
    return np.concatenate([images, noise.astype(np.float32)])


def _in_batches(answer: Callable[[Any], Any], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([np.asarray(answer(images[i : i + _BATCH_SIZE])) for i in starts])


def _compare(
    expected: np.ndarray, actual: np.ndarray, format: str, target: pathlib.Path
) -> tuple[float, float]:
    """Agreement and largest difference; a float32 file must differ by rounding only."""
    difference = float(np.abs(expected - actual).max())
    agreement = float((expected.argmax(axis=1) == actual.argmax(axis=1)).mean())
    tolerance = 1e-3 * max(1.0, float(np.abs(expected).max()))
    # Written so that NaN is refused.
    if format != "litert_int8" and not difference <= tolerance:
        raise RuntimeError(
            f"The {format} file for {str(target)!r} answers differently from the Keras model: by "
            f"{difference:.3g}, where {tolerance:.3g} is rounding; it was not kept."
        )
    if agreement < 0.9:
        logging.warning(
            "%s and the Keras model name the same class on %.1f%% of %d inputs only.",
            target, 100 * agreement, len(expected),
        )  # fmt: skip
    return agreement, difference


def _size(path: pathlib.Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
