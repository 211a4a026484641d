"""A small fixed run gives the recorded numbers: `tests/pinned/run.py`.

On the type of processor that the record was made on, the arrays must be equal bit for bit (their
hashes are compared). On other processors, compiled arithmetic rounds differently, and thirty Adam
steps amplify the differences: targets must still agree to float32 rounding, and the rest to the
tolerances below.

The record may only be changed in a commit whose subject says that numbers change and why:
`python tests/pinned/run.py --record`.
"""

import hashlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

_HERE = pathlib.Path(__file__).parent
_ROOT = _HERE.parent
_RECORD = _HERE / "pinned" / "record.npz"
# Mean absolute difference over mean absolute value, on another type of processor.
_TOLERANCES = {"impressions": 0.1, "student": 0.1, "int8": 0.2}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("pinned") / "made.npz"
    # A separate process: TensorFlow's number of threads is fixed at the first computation.
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    # Set in `conftest.py` for short compilations; here the code is compiled as for users.
    environment.pop("XLA_FLAGS", None)
    command = [sys.executable, str(_HERE / "pinned" / "run.py"), str(path)]
    subprocess.run(command, cwd=_ROOT, env=environment, check=True, timeout=600)
    return dict(np.load(path))


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(_RECORD))


def _digest(arrays, part):
    digest = hashlib.sha256()
    for name in sorted(name for name in arrays if part in name):
        value = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("teacher", ["plain", "batch_norm"])
@pytest.mark.parametrize("part", ["impressions", "student", "int8"])
def test_result(made, recorded, teacher, part):
    key = f"{teacher}/{part}/"
    names = sorted(name for name in recorded if key in name)
    assert names
    assert names == sorted(name for name in made if key in name)
    if str(made["processor"]) == str(recorded["processor"]):
        assert _digest(made, key) == _digest(recorded, key)
        return
    for name in names:
        assert made[name].shape == recorded[name].shape, name
        if name.endswith(("target", "label")):
            np.testing.assert_allclose(made[name], recorded[name], rtol=1e-4, atol=1e-6)
            continue
        old, new = recorded[name].astype(np.float64), made[name].astype(np.float64)
        limit = _TOLERANCES[part] * np.abs(old).mean() + 1e-6
        assert np.abs(new - old).mean() <= limit, name


def test_the_digest_detects_one_bit(recorded):
    changed = dict(recorded)
    name = next(name for name in recorded if "plain/student/" in name)
    changed[name] = np.nextafter(changed[name], np.inf)
    assert _digest(changed, "plain/student/") != _digest(recorded, "plain/student/")
