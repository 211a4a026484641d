"""What the processor is good at."""

import functools
import pathlib

import tensorflow as tf


@functools.cache
def has_bfloat16() -> bool:
    """Whether matrix products in bfloat16 are faster here than in float32.

    A GPU of compute capability 8 or more has them in hardware; so has an x86 processor that says
    `avx512_bf16` or `amx_bf16`, and an ARM processor that says `bf16`. What cannot be asked says no.
    """
    devices = tf.config.list_physical_devices("GPU")
    if devices:
        details = tf.config.experimental.get_device_details(devices[0])
        return tuple(details.get("compute_capability", (0, 0))) >= (8, 0)
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(line.split())
