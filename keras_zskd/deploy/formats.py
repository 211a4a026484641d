"""Export to SavedModel, LiteRT in float32 and in quantized forms, and ONNX.

A file is written next to its destination, executed there, compared with the Keras model, and only
then moved into place. Every file at its final path has been executed at least once.
"""

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, first_line, invalid
from keras_zskd.core.input_range import Range, fewest_steps
from keras_zskd.deploy.calibration import (
    NUM_CALIBRATION_IMAGES,
    balanced,
    filled_up,
    load_calibration,
)
from keras_zskd.deploy.destination import (
    check_target,
    find_format,
    size_on_disk,
    written_to_temporary,
)
from keras_zskd.deploy.distributed_models import outside_of_strategies
from keras_zskd.deploy.litert_conversion import (
    CALIBRATED,
    FormatError,
    litert_bytes,
    write_saved_model,
)
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.deploy.onnx_conversion import write_onnx
from keras_zskd.deploy.outputs import logits_of
from keras_zskd.models.classifier import check_classifier
from keras_zskd.models.graph import inline, scope_name, share_layer, typed_copy

_BATCH_SIZE = 256
# If the range of a feature has fewer steps in an int8 input, a warning is given.
_FEWEST_STEPS = 16
# Formats whose files differ from the model only by rounding.
_EXACT = ("saved_model", "litert", "onnx")


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """Describes an exported file and its comparison with the Keras model.

    Attributes:
        path: The file, or the directory of a SavedModel.
        format: One of the formats of `export`.
        bytes: Size on disk; for a directory, of all its files.
        agreement: Share of the checked inputs for which both predict the same class.
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
    input_range: Range | None = None,
    num_checks: int = 1_000,
) -> ExportResult:
    """Export a Keras classifier to a deployment format, and execute the file to verify it.

    LiteRT files take one image at a time, `(1, H, W, C)`: a fixed batch size keeps every shape
    known, as microcontrollers and GPU delegates require, and costs nothing on a phone. They contain
    built-in operators only, no Flex operators. An int8 file contains only integers, including its
    input and output. The other quantized forms have float32 inputs and outputs: "litert_float16"
    and "litert_dynamic" store the weights in float16 and int8; "litert_mixed" computes in int8, and
    "litert_int16x8" with int8 weights and int16 activations, both where LiteRT has such operators,
    and in float32 elsewhere. SavedModel and ONNX take any batch size. A mixed-precision model is
    exported and compared in float32.

    Args:
        model: Functional or Sequential classifier. It is not changed.
        path: Output path. An earlier file or SavedModel is replaced.
        format: One of "saved_model", "litert", "litert_int8", "litert_float16", "litert_dynamic",
            "litert_int16x8", "litert_mixed", "onnx". By default inferred from the path:
            `_int8.tflite` and so on, `.tflite`, `.onnx`, and no suffix for a SavedModel.
        calibration: Images for quantization and comparison: a transfer set, or an array
            `(N, H, W, C)`. Required by "litert_int8", "litert_int16x8" and "litert_mixed": the
            ranges of the activations are measured on 500 of them, with equally many of each class
            if the labels are known.
        input_range: `(low, high)` of the uniform noise that is added if `calibration` has fewer
            than `num_checks` images. Defaults to the range of `calibration`, else (0, 1).
        num_checks: Minimum number of inputs to compare, positive. Defaults to 1,000.

    Returns:
        An `ExportResult`.

    Raises:
        InputError: If model, path, format or calibration cannot be used, or a package is missing.
        FormatError: If the model cannot be converted to this format; a subclass of `InputError`.
        RuntimeError: If outputs of a float32 file differ from those of the Keras model by more than
            rounding. The file is not kept.

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
    format = find_format(target, format)
    check_target(target, format)
    if num_checks < 1:
        raise invalid("num_checks", "be positive", num_checks)
    shape = tuple(model.inputs[0].shape[1:])
    images, labels, input_range = load_calibration(calibration, shape, input_range)
    if format in CALIBRATED and not len(images):
        raise InputError(
            f"`calibration` must contain images if `format` is {format!r}, to measure the ranges "
            "of activations. Received: no images. Pass a transfer set or an array of images."
        )
    if format == "litert_int8" and fewest_steps(input_range) < _FEWEST_STEPS:
        # Without the path, so that several exports of a command warn once.
        warnings.warn(
            "The int8 input has one scale for all features, which leaves "
            f"{fewest_steps(input_range):.2g} steps for the one with the narrowest range. Scale the "
            "features before the model, or use litert_dynamic.",
            stacklevel=2,
        )
    reference = _for_inference(_in_float32(model))
    checks = filled_up(images, num_checks, shape, input_range)
    expected = _in_batches(lambda x: reference(x, training=False), checks)
    if not np.isfinite(expected).all():
        raise InputError(
            f"`model` must have finite outputs. Received: model {model.name!r}, which outputs NaN "
            "or infinity. Load a checkpoint from before its training diverged."
        )
    with written_to_temporary(target) as temporary:
        if format == "saved_model":
            write_saved_model(reference, temporary)
            loaded = tf.saved_model.load(str(temporary))  # Its functions do not keep it alive.
            answer = loaded.serve
        elif format == "onnx":
            answer = write_onnx(reference, temporary)
        else:
            chosen = images[balanced(labels, len(images), NUM_CALIBRATION_IMAGES)]
            temporary.write_bytes(litert_bytes(reference, format, chosen))
            answer = _predictions_of(temporary, format, model.name)
        actual = _in_batches(answer, checks)
        agreement, difference = _compare(expected, actual, format, target)
        size = size_on_disk(temporary)
    return ExportResult(str(target), format, size, agreement, difference, len(checks))


def _in_float32(model: keras.Model) -> keras.Model:
    """Return the model with one plain input and output, in float32 if it computes in less."""
    plain = keras.Model(model.inputs[0], model.outputs[0], name=scope_name(model.name))
    # An InputLayer takes over the global dtype policy, but computes nothing.
    layers = inline(plain, share_layer).layers
    dtypes = {x.compute_dtype for x in layers if not isinstance(x, keras.layers.InputLayer)}
    is_float32 = dtypes <= {"float32"} and plain.inputs[0].dtype == "float32"
    is_named = all(layer.name == scope_name(layer.name) for layer in layers)
    return plain if is_float32 and is_named else typed_copy(plain)


def _for_inference(model: keras.Model) -> keras.Model:
    """Return the model in inference mode: random image layers default to training mode."""
    pixels = keras.Input(model.inputs[0].shape[1:])
    return keras.Model(pixels, model(pixels, training=False), name=model.name)


def _predictions_of(path: pathlib.Path, format: str, name: str) -> Callable[[np.ndarray], Any]:
    """Return a LiteRT file as a function; some forms can be written but not executed."""

    def refused(error: BaseException) -> FormatError:
        cause = (
            "The cause can be a layer that outputs the same values for all calibration images: pass "
            "images that resemble the real ones. "
            if format in CALIBRATED
            else ""
        )
        return FormatError(
            f"Model {name!r} has no {format} form: LiteRT cannot execute it ({first_line(error)}). "
            f"{cause}Export it as litert or litert_dynamic."
        )

    try:
        file = LiteRTModel(path)
    except InputError as error:
        raise refused(error.__cause__ or error) from error

    def answer(images: np.ndarray) -> np.ndarray:
        try:
            return file.predict(images)
        except RuntimeError as error:
            raise refused(error) from error

    return answer


def _in_batches(answer: Callable[[Any], Any], images: np.ndarray) -> np.ndarray:
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([np.asarray(answer(images[i : i + _BATCH_SIZE])) for i in starts])


def _compare(
    expected: np.ndarray, actual: np.ndarray, format: str, target: pathlib.Path
) -> tuple[float, float]:
    """Return agreement and largest difference; a float32 file may differ only by rounding."""
    difference = float(np.abs(expected - actual).max())
    classes = [logits_of(x) if x.shape[-1] == 1 else x for x in (expected, actual)]
    agreement = float((classes[0].argmax(axis=1) == classes[1].argmax(axis=1)).mean())
    tolerance = 1e-3 * max(1.0, float(np.abs(expected).max()))
    # Written so that NaN raises as well.
    if format in _EXACT and not difference <= tolerance:
        raise RuntimeError(
            f"The outputs of the {format} file for {str(target)!r} differ from those of the Keras "
            f"model by {difference:.3g}, more than rounding ({tolerance:.3g}). It was not kept."
        )
    if agreement < 0.9:
        warnings.warn(
            f"{target} and the Keras model predict the same class for only {100 * agreement:.1f}% of "
            f"{len(expected)} inputs.",
            stacklevel=3,
        )
    return agreement, difference
