"""The small fixed run behind `tests/test_pinned_result.py`.

    python tests/pinned/run.py OUTPUT.npz    runs it
    python tests/pinned/run.py --record      writes what the test compares with

`distill` at the library's defaults except for the number of impressions and epochs, from a
convolutional teacher without and one with batch normalization, on one thread. What is kept is the
transfer set, the student's weights, and the numbers of the int8 file: its constants, their scales
and zero points, and its answers. Names in the file are left out: they change when layers are
renamed, the numbers do not.
"""

import os
import pathlib
import platform
import sys
import tempfile

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import keras_zskd as zskd

RECORD = pathlib.Path(__file__).with_name("record.npz")
_NUM_IMPRESSIONS, _EPOCHS = 60, 2


def processor() -> str:
    """What decides which instructions compiled code uses."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    (flags,) = {line.split(":")[1] for line in lines if line.startswith(("flags", "Features"))}
    wide = sorted(flag for flag in flags.split() if flag.startswith(("avx", "fma", "amx", "sve")))
    return f"{platform.machine()} {' '.join(wide)}"


def teacher(batch_norm: bool) -> keras.Model:
    """A small convolutional classifier with random weights of some contrast."""
    layers, rng = keras.layers, np.random.default_rng(7)
    pixels = x = keras.Input((12, 12, 1))
    for width in (8, 16):
        x = layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm)(x)
        if batch_norm:
            x = layers.BatchNormalization()(x)
        x = layers.MaxPooling2D()(layers.ReLU()(x))
    x = layers.Dense(24, activation="relu")(layers.Flatten()(x))
    model = keras.Model(pixels, layers.Dense(5)(x))
    for variable in model.variables:
        shape = variable.shape
        if variable.path.endswith("kernel"):
            value = rng.normal(0.0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        elif variable.path.endswith(("gamma", "variance")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(0.0, 0.2, shape)
        variable.assign(value)
    head = model.layers[-1].kernel
    head.assign(4.0 * head)
    return model


def run() -> dict[str, np.ndarray]:
    """Arrays by "teacher/part/name"."""
    made: dict[str, np.ndarray] = {}
    for name, batch_norm in (("plain", False), ("batch_norm", True)):
        with tempfile.TemporaryDirectory() as directory:
            zskd.distill(
                zskd.Teacher(teacher(batch_norm), input_range=(0.0, 1.0)),
                method=zskd.METHODS["zskd"](num_impressions=_NUM_IMPRESSIONS, epochs=_EPOCHS),
                output_dir=directory,
                verbose=0,
            )
            impressions = zskd.TransferSet(f"{directory}/impressions").arrays()
            student = zskd.load_model(f"{directory}/student.keras")
            int8 = zskd.LiteRTModel(f"{directory}/student_int8.tflite")
            made |= {f"{name}/impressions/{key}": value for key, value in impressions.items()}
            weights = student.get_weights()
            made |= {f"{name}/student/{i:02}": value for i, value in enumerate(weights)}
            made |= {f"{name}/int8/{i:02}": v for i, v in enumerate(int8_constants(int8.path))}
            made[f"{name}/int8/answers"] = int8.predict(impressions["image"])
    return made


def int8_constants(path: str) -> list[np.ndarray]:
    """Constants of an int8 file, each flat and followed by its scales and zero points."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    found = []
    for tensor in interpreter.get_tensor_details():
        if tensor["dtype"] not in (np.int8, np.int32):
            continue
        try:
            value = interpreter.get_tensor(tensor["index"])
        except ValueError:  # An activation: it has no value before the file is executed.
            continue
        scales = tensor["quantization_parameters"]
        parts = (value.ravel(), scales["scales"], scales["zero_points"])
        found.append(np.concatenate(parts, dtype=np.float64))
    return found


def main(argv: list[str]) -> None:
    """See the module."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    output = str(RECORD) if argv[1:] == ["--record"] else argv[1]
    np.savez_compressed(output, processor=processor(), **run())


if __name__ == "__main__":
    main(sys.argv)
