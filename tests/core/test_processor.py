import pathlib

import pytest
import tensorflow as tf

from keras_zskd.core import processor

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_2 avx512f {}\nbugs\t: \n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd {}\nCPU part\t: 0xd0c\n"


@pytest.fixture
def has_bfloat16(monkeypatch):
    """A function that calls the uncached `has_bfloat16` on a simulated machine."""

    def ask(cpuinfo=None, gpu=None):
        def read_text(self, **kwargs):
            assert str(self) == "/proc/cpuinfo"
            if cpuinfo is None:
                raise FileNotFoundError(self)
            return cpuinfo

        with monkeypatch.context() as machine:
            machine.setattr(pathlib.Path, "read_text", read_text)
            machine.setattr(
                tf.config, "get_visible_devices", lambda kind: ["gpu"] if gpu is not None else []
            )
            machine.setattr(tf.config.experimental, "get_device_details", lambda device: gpu)
            return processor.has_bfloat16.__wrapped__()

    return ask


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512_vnni"), False),
        (ARM.format("bf16 i8mm"), True),
        (ARM.format("i8mm"), False),
        (ARM.format("svebf16"), False),  # Another extension: whole words are compared.
        ("model name\t: avx512_bf16\n", False),
        ("", False),
        (None, False),  # No such file: macOS, Windows.
    ],
)
def test_cpu_depends_on_its_flags(has_bfloat16, cpuinfo, expected):
    assert has_bfloat16(cpuinfo) is expected


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"compute_capability": (7, 5)}, False),
        ({"compute_capability": (8, 0)}, True),
        ({"compute_capability": (9, 0)}, True),
        ({}, False),
    ],
)
def test_gpu_depends_on_its_compute_capability(has_bfloat16, details, expected):
    # Regardless of the CPU.
    assert has_bfloat16(X86.format("amx_bf16"), gpu=details) is expected


def test_is_cached():
    assert processor.has_bfloat16() is processor.has_bfloat16()
    assert processor.has_bfloat16.cache_info().currsize == 1
