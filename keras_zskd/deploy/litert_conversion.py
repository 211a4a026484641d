"""Conversion of a Keras model to the bytes of a LiteRT file, in every numeric form."""

import contextlib
import gc
import pathlib
import re
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError, first_line
from keras_zskd.deploy.litert_model import float_tensors

LITERT_FORMATS = (
    "litert", "litert_int8", "litert_float16", "litert_dynamic", "litert_int16x8", "litert_mixed",
)  # fmt: skip
# Formats for which ranges of activations are measured.
CALIBRATED = ("litert_int8", "litert_int16x8", "litert_mixed")


class FormatError(InputError):
    """Raised if the model cannot be converted to the requested format."""


def litert_bytes(model: keras.Model, format: str, calibration: np.ndarray) -> bytes:
    """Return the bytes of a LiteRT file.

    Args:
        model: The model, in float32.
        format: One of `LITERT_FORMATS`.
        calibration: Images `(N, H, W, C)`; read by the formats in `CALIBRATED`.

    Raises:
        FormatError: If the model has no such form.
    """
    if format in CALIBRATED and _has_loop(model):
        # LiteRT's calibration would read invalid memory and crash the process.
        raise FormatError(
            f"Model {model.name!r} has no {_named(format)} form: LiteRT cannot measure ranges inside "
            "a loop, as in recurrent layers. Export it as litert, or use a student without them."
        )
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The converter warns about its own int8 defaults.
        write_saved_model(model, pathlib.Path(directory) / "model", batch=1)
        converter = tf.lite.TFLiteConverter.from_saved_model(f"{directory}/model")
        _configure(converter, format, calibration)
        try:
            with _no_long_collection():
                content: bytes = converter.convert()
        except Exception as error:  # The converter raises many types for unsupported models.
            flex = re.search(r"(?:TF Select|Custom|Flex) ops: ([\w, ]+)", str(error))
            found = f"needs {flex[1].strip()}" if flex else f"error: {first_line(error)}"
            raise FormatError(
                f"Model {model.name!r} has no LiteRT form with built-in operators only ({found}). "
                "Replace that layer, or export as saved_model."
            ) from error
    if format == "litert_int8" and (floating := float_tensors(content)):
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


@contextlib.contextmanager
def _no_long_collection() -> Iterator[None]:
    """Exempt existing objects from the full garbage collection at the end of each conversion.

    It would visit the million objects of an imported TensorFlow.
    """
    # By the caller, whose objects must stay frozen. Python 3.12 freezes a few hundred of its own.
    if gc.get_freeze_count() > 1_000:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _named(format: str) -> str:
    return "full-integer" if format == "litert_int8" else format.removeprefix("litert_")


def _configure(converter: Any, format: str, calibration: np.ndarray) -> None:
    """Set the numeric form of a conversion."""
    # Keras' own export allows Flex operators, which the usual runtimes cannot execute.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if format == "litert":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if format == "litert_float16":
        converter.target_spec.supported_types = [tf.float16]
    if format in CALIBRATED:
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
    if format == "litert_int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if format == "litert_mixed":
        # As in "litert_int8", but operators without an integer form stay in float32.
        integer = tf.lite.OpsSet.TFLITE_BUILTINS_INT8
        converter.target_spec.supported_ops = [integer, tf.lite.OpsSet.TFLITE_BUILTINS]
    if format == "litert_int16x8":
        # Operators without such a form stay in float32.
        int16 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [int16, tf.lite.OpsSet.TFLITE_BUILTINS]


def _has_loop(model: keras.Model) -> bool:
    """Whether the graph of the model has a `while` loop, of a recurrent or any other layer."""
    call = tf.function(lambda x: model(x, training=False), autograph=False)
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32)
    graph = call.get_concrete_function(spec).graph.as_graph_def()
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    return any(node.op in ("While", "StatelessWhile") for body in bodies for node in body)


def write_saved_model(model: keras.Model, path: pathlib.Path, batch: int | None = None) -> None:
    """Write a SavedModel for one batch size, or for any if it is None."""
    spec = keras.InputSpec(shape=(batch, *model.inputs[0].shape[1:]), dtype="float32", name="image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.export(str(path), format="tf_saved_model", verbose=False, input_signature=[spec])
