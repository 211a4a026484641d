"""Processors that TensorFlow can use, and what they support."""

import functools
import pathlib

import tensorflow as tf


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU."""
    return bool(tf.config.get_visible_devices("GPU"))


@functools.cache
def has_bfloat16() -> bool:
    """Whether matrix products are faster in bfloat16 than in float32 on this machine.

    True for GPUs of compute capability 8 or more, x86 processors with the flag `avx512_bf16` or
    `amx_bf16`, and ARM processors with the feature `bf16`, which support it in hardware. False if
    this cannot be determined.
    """
    devices = tf.config.get_visible_devices("GPU")
    if devices:
        details = tf.config.experimental.get_device_details(devices[0])
        return tuple(details.get("compute_capability", (0, 0))) >= (8, 0)
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(line.split())
