"""Export to SavedModel, LiteRT float32, LiteRT full-integer int8, and ONNX.

A file is written next to its destination, executed there, compared with the Keras model, and only
then moved into place. Every file at its final path has been executed at least once.
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
from keras_zskd.deploy.distributed_models import outside_of_strategies
from keras_zskd.deploy.litert_model import LiteRTModel, float_tensors
from keras_zskd.models.graph import inline, share_layer, typed_copy
from keras_zskd.models.teacher import check_classifier

FORMATS = ("saved_model", "litert", "litert_int8", "onnx")
# More images do not change the quantization ranges of a small classifier.
NUM_CALIBRATION_IMAGES = 500
_MAX_LOADED = 2_000
_BATCH_SIZE = 256


class FormatError(InputError):
    """Raised if the model cannot be converted to the requested format."""


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """Describes an exported file and its comparison with the Keras model.

    Attributes:
        path: The file, or the directory of a SavedModel.
        format: One of "saved_model", "litert", "litert_int8", "onnx".
        bytes: Size on disk; for a directory, of all its files.
        agreement: Share of the checked inputs for which file and Keras model predict one class.
        max_abs_difference: Largest absolute difference of an output from the Keras model's.
        num_checked: Number of inputs that were compared.
    """

    path: str
    format: str
    bytes: int
    agreement: float
    max_abs_difference: float
    num_checked: int


@outside_of_strategies
def export(
    model: keras.Model,
    path: str | os.PathLike[str],
    format: str | None = None,
    calibration: Any = None,
    input_range: tuple[float, float] | None = None,
    num_checks: int = 1_000,
) -> ExportResult:
    """Export a Keras classifier to a deployment format, and execute the file to verify it.

    LiteRT files take one image at a time, `(1, H, W, C)`: a fixed batch keeps every shape known,
    as microcontrollers and GPU delegates require, and costs nothing on a phone. They contain
    built-in operators only, no Flex; an int8 file contains only integers, including its input and
    output. SavedModel and ONNX take any batch size. A mixed-precision model is exported and
    compared in float32.

    Args:
        model: Functional or Sequential classifier. It is not changed.
        path: Output path. An earlier file or SavedModel is replaced.
        format: One of "saved_model", "litert", "litert_int8", "onnx". By default inferred from the
            path: `_int8.tflite`, `.tflite`, `.onnx`, and no suffix for a SavedModel.
        calibration: Images for quantization and comparison: a transfer set, or an array
            `(N, H, W, C)`. Required by "litert_int8": the ranges of the activations are measured
            on 500 of them, with equally many of each class if the labels are known.
        input_range: `(low, high)` of the uniform noise that is added if `calibration` has fewer
            than `num_checks` images. Defaults to the range of `calibration`, else (0, 1).
        num_checks: Minimum number of inputs to compare, positive. Defaults to 1,000.

    Returns:
        An `ExportResult`.

    Raises:
        InputError: If model, path, format or calibration cannot be used, or a package is missing.
        FormatError: If the model cannot be converted to this format; a subclass of `InputError`.
        RuntimeError: If a float32 file and the Keras model differ in outputs; it is not kept.

    Example:
        >>> import tempfile
        >>> student = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(),
        ...                             keras.layers.Dense(3)])
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     result = export(student, directory + "/student.tflite", num_checks=10)
        >>> result.format, result.agreement
        ('litert', 1.0)

    `keras.Model.export` writes the same formats without executing them, and allows Flex operators.
    """
    check_classifier(model, role="model")
    target = pathlib.Path(os.fspath(path))
    format = _find_format(target, format)
    _check_target(target, format)
    if num_checks < 1:
        raise InputError(f"`num_checks` must be positive. Received: num_checks={num_checks}.")
    shape = tuple(model.inputs[0].shape[1:])
    images, labels, input_range = _load_calibration(calibration, shape, input_range)
    if format == "litert_int8" and not len(images):
        raise InputError(
            "`calibration` must contain images if `format` is 'litert_int8', to measure the ranges "
            "of activations. Received: no images. Pass a transfer set or an array of images."
        )
    reference = _for_inference(_in_float32(model))
    checks = _fill_up(images, num_checks, shape, input_range)
    expected = _in_batches(lambda x: reference(x, training=False), checks)
    if not np.isfinite(expected).all():
        raise InputError(
            f"`model` must have finite outputs. Received: model {model.name!r}, which outputs NaN "
            "or infinity. Load a checkpoint from before its training diverged."
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
    """Return the model with one plain input and output, in float32 if it computes in less."""
    plain = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    # An InputLayer has the global policy as its own and computes nothing.
    layers = inline(plain, share_layer).layers
    dtypes = {x.compute_dtype for x in layers if not isinstance(x, keras.layers.InputLayer)}
    is_float32 = dtypes <= {"float32"} and plain.inputs[0].dtype == "float32"
    return plain if is_float32 else typed_copy(plain)


def _for_inference(model: keras.Model) -> keras.Model:
    """Return the model in inference mode: random image layers default to training mode."""
    pixels = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(pixels, model(pixels, training=False), name=model.name)


def _find_format(target: pathlib.Path, format: str | None) -> str:
    suffix = target.suffix.lower()
    found = {"": "saved_model", ".onnx": "onnx", ".tflite": "litert"}.get(suffix)
    if format is None:
        if found is None:
            raise InputError(
                "`path` must end in .tflite or .onnx, or have no suffix for a SavedModel. "
                f"Received: path={str(target)!r}. Rename it, or pass `format`."
            )
        return "litert_int8" if target.name.lower().endswith("_int8.tflite") else found
    if format not in FORMATS:
        raise InputError(
            f"`format` must be one of {', '.join(FORMATS)}. Received: format={format!r}."
        )
    if format != "saved_model" and found != format.removesuffix("_int8"):
        wanted = ".onnx" if format == "onnx" else ".tflite"
        raise InputError(
            f"`path` must end in {wanted} if `format` is {format!r}. Received: "
            f"path={str(target)!r}."
        )
    return format


def _check_target(target: pathlib.Path, format: str) -> None:
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
def _written_beside(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yield a temporary path next to `target`; it replaces `target` on success, else is removed."""
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
            f"`path` must be writable. Received: path={str(target)!r} ({reason}). Free some space, "
            "or choose another path."
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
            f"Format 'onnx' requires {' and '.join(missing)}, which could not be found. Install "
            "with `pip install keras-zskd[onnx]`."
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
    """Return the bytes of a LiteRT file; int8 if there are calibration images."""
    if calibration is not None and _has_loop(model):
        # LiteRT's calibration would read invalid memory and crash the process.
        raise FormatError(
            f"Model {model.name!r} has no full-integer form: LiteRT cannot measure ranges inside a "
            "loop, as in recurrent layers. Export it as litert, or use a student without them."
        )
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The converter warns about its own int8 defaults.
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
        except Exception as error:  # The converter raises many types for unsupported models.
            flex = re.search(r"(?:TF Select|Custom|Flex) ops: ([\w, ]+)", str(error))
            found = f"needs {flex[1].strip()}" if flex else f"error: {_first_line(error)}"
            raise FormatError(
                f"Model {model.name!r} has no LiteRT form with built-in operators only ({found}). "
                "Replace that layer, or export as saved_model."
            ) from error
        if calibration is None:
            return content
        floating = float_tensors(content)
        if floating:
            # The converter silently inserts a dequantized operator between two quantized ones, e.g.
            # for tf.nn.local_response_normalization, which has no integer kernel. Such a file is
            # not even prepared for execution: if a scale is NaN, that would crash the process.
            named = sorted(name for name in floating if name and not name.startswith("tfl."))
            raise FormatError(
                f"Model {model.name!r} has no full-integer form: LiteRT would compute "
                f"{', '.join(named) or 'a part'} in float32. Export it as litert, or use a student "
                "without that layer."
            )
        return content


def _has_loop(model: keras.Model) -> bool:
    """Whether the graph of the model has a `while` loop, of a recurrent or any other layer."""
    call = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32)
    graph = call.get_concrete_function(spec).graph.as_graph_def()
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in ("While", "StatelessWhile") for body in bodies for node in body)


def _load_calibration(
    calibration: Any, shape: tuple[int, ...], input_range: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, float]]:
    """Return images, their labels if known, and the range to draw noise from."""
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
            f"`calibration` must contain finite images of shape (N, {', '.join(map(str, shape))}). "
            f"Received: images of shape {images.shape}. Pass images that were made for this model."
        )
    low, high = found if input_range is None else input_range
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InputError(
            f"`input_range` must be finite, with low < high. Received: input_range=({low}, {high})."
        )
    return images, labels, (float(low), float(high))


def _balanced(labels: np.ndarray | None, available: int, wanted: int) -> np.ndarray:
    """Return indices of `wanted` images, equally many per class; evenly spread if unlabeled."""
    if available <= wanted:
        return np.arange(available)
    if labels is None:
        return np.linspace(0, available - 1, wanted).round().astype(int)
    labels = np.asarray(labels)
    turn = np.zeros(available, int)  # For each image, the number of its class before it.
    for label in np.unique(labels):
        mine = labels == label
        turn[mine] = np.arange(mine.sum())
    return np.sort(np.lexsort((labels, turn))[:wanted])


def _fill_up(
    images: np.ndarray, wanted: int, shape: tuple[int, ...], input_range: tuple[float, float]
) -> np.ndarray:
    """Return the images, followed by uniform noise if there are fewer than `wanted`."""
    num_noise = max(0, wanted - len(images))
    noise = np.random.default_rng(0).uniform(*input_range, (num_noise, *shape))
    return np.concatenate([images, noise.astype(np.float32)])


def _in_batches(answer: Callable[[Any], Any], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([np.asarray(answer(images[i : i + _BATCH_SIZE])) for i in starts])


def _compare(
    expected: np.ndarray, actual: np.ndarray, format: str, target: pathlib.Path
) -> tuple[float, float]:
    """Return agreement and largest difference; a float32 file may differ only by rounding."""
    difference = float(np.abs(expected - actual).max())
    agreement = float((expected.argmax(axis=1) == actual.argmax(axis=1)).mean())
    tolerance = 1e-3 * max(1.0, float(np.abs(expected).max()))
    # Written so that NaN raises as well.
    if format != "litert_int8" and not difference <= tolerance:
        raise RuntimeError(
            f"The outputs of the {format} file for {str(target)!r} differ from those of the Keras "
            f"model by {difference:.3g}, more than rounding ({tolerance:.3g}). It was not kept."
        )
    if agreement < 0.9:
        logging.warning(
            "%s and the Keras model predict the same class for only %.1f%% of %d inputs.",
            target, 100 * agreement, len(expected),
        )  # fmt: skip
    return agreement, difference


def _size(path: pathlib.Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
