"""Run LiteRT files: quantize inputs, dequantize outputs, and measure latency."""

import os
import time
from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.deploy.outputs import logits_of

_BATCH_SIZE = 256


class LiteRTModel:
    """A LiteRT file as a callable on images; it quantizes inputs and dequantizes outputs.

    A call returns logits, so it can take the place of a student: `evaluate(teacher,
    LiteRTModel(path), images, labels)`. A final softmax or sigmoid is inverted.

    Args:
        path: A `.tflite` file with one input and one output.
        num_threads: Threads of the interpreter. Defaults to 1, as on a microcontroller.
        is_multi_label: Whether the outputs are of labels that do not exclude each other.

    Attributes:
        path: The file.
        input_shape: Shape of one image, without the batch dimension.
        num_classes: Number of outputs K.
        is_integer: Whether all tensors in the file are integers, including input and output.

    Raises:
        InputError: If the file is missing, is not a LiteRT model, or contains Flex operators.
    """

    def __init__(
        self, path: str | os.PathLike[str], num_threads: int = 1, is_multi_label: bool = False
    ):
        self.is_multi_label = is_multi_label
        litert = _litert()
        self.path = os.fspath(path)
        arguments: dict[str, Any] = {"model_path": self.path, "num_threads": num_threads}
        plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        try:
            self._interpreter = litert.Interpreter(**arguments)
            try:
                self._interpreter.allocate_tensors()
            except RuntimeError:
                # XNNPACK, the default, rejects the scales of an int8 layer that outputs only zeros,
                # such as dead ReLUs. LiteRT's own kernels compute it.
                self._interpreter = litert.Interpreter(
                    **arguments, experimental_op_resolver_type=plain
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise invalid(
                "path",
                "be a LiteRT file with built-in operators only",
                self.path,
                fix=f"Error of the interpreter: {str(error).splitlines()[0][:200]}",
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise InputError(
                "`path` must be a LiteRT file with one input and one output. Received: "
                f"path={self.path!r}, with {len(inputs)} inputs and {len(outputs)} outputs."
            )
        self._input, self._output = inputs[0], outputs[0]
        self._takes_batches = int(self._input["shape_signature"][0]) == -1
        self.input_shape: tuple[int, ...] = tuple(int(size) for size in self._input["shape"][1:])
        self.num_classes = int(self._output["shape"][-1])
        self.is_integer = not _float_tensors(self._interpreter)

    def predict(self, images: Any) -> np.ndarray:
        """Return dequantized outputs `(N, K)`, float32.

        Args:
            images: `(N, H, W, C)` in the model's range. Pixels outside the range that an int8 file
                was calibrated on are clipped to it.
        """
        images = np.asarray(images)
        if images.shape[1:] != self.input_shape:
            raise InputError(
                f"`images` must have shape (N, *{self.input_shape}) for {self.path!r}. Received: "
                f"images of shape {images.shape}."
            )
        step = _BATCH_SIZE if self._takes_batches else 1
        outputs = [self._run(images[start : start + step]) for start in range(0, len(images), step)]
        return np.concatenate([np.zeros((0, self.num_classes), np.float32), *outputs])

    def __call__(self, images: Any) -> np.ndarray:
        """Return logits `(N, K)`, float32; for a softmax, the logarithms of its outputs.

        A file with one output has two classes: see `keras_zskd.models.logits.TwoLogits`.
        """
        scale, zero_point = self._output["quantization"]
        return logits_of(self.predict(images), scale, zero_point, self.is_multi_label)

    def milliseconds_per_image(self, image: Any = None, repeats: int = 200) -> float:
        """Return the median wall time for one image, from setting the input to reading the output.

        Args:
            image: `(H, W, C)`. Defaults to zeros.
            repeats: Number of timed runs, positive; a few warm-up runs precede them.
        """
        if repeats < 1:
            raise invalid("repeats", "be positive", repeats)
        image = np.zeros(self.input_shape, np.float32) if image is None else np.asarray(image)
        batch = self._quantized(image[np.newaxis])
        times = []
        for _ in range(repeats + max(5, repeats // 10)):
            start = time.perf_counter()
            self._invoke(batch)
            times.append(time.perf_counter() - start)
        return 1e3 * float(np.median(times[-repeats:]))

    def _run(self, images: np.ndarray) -> np.ndarray:
        outputs = self._invoke(self._quantized(images))
        scale, zero_point = self._output["quantization"]
        return (outputs.astype(np.float32) - zero_point) * np.float32(scale or 1.0)

    def _quantized(self, images: np.ndarray) -> np.ndarray:
        dtype = self._input["dtype"]
        scale, zero_point = self._input["quantization"]
        if not scale:
            return images.astype(dtype)
        limits = np.iinfo(dtype)
        return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max).astype(dtype)

    def _invoke(self, batch: np.ndarray) -> np.ndarray:
        if tuple(self._interpreter.get_input_details()[0]["shape"]) != batch.shape:
            self._interpreter.resize_tensor_input(self._input["index"], batch.shape)
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])


def float_tensors(content: bytes) -> list[str]:
    """Return the names of the floating-point tensors in a LiteRT file, without executing it."""
    return _float_tensors(_litert().Interpreter(model_content=content))


def _float_tensors(interpreter: Any) -> list[str]:
    return [
        details["name"]
        for details in interpreter.get_tensor_details()
        if np.issubdtype(details["dtype"], np.floating)
    ]


def _litert() -> Any:
    """Return LiteRT's interpreter module, which is slow to import."""
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise InputError(
            f"LiteRT files require the package ai-edge-litert, which could not be imported "
            f"({error}). Install it with `pip install ai-edge-litert`."
        ) from error
    return interpreter
