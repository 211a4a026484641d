"""`--import`: model files with layers, losses and models of the user's own modules."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.core.own_modules import import_modules
from keras_zskd.models.teacher import Teacher

_MODULE = """
import keras

class Own(keras.layers.Layer):  # Not registered.
    def call(self, x):
        return 2.0 * x

@keras.saving.register_keras_serializable(package="own")
class OwnModel(keras.Model):
    def train_step(self, data):
        raise NotImplementedError

def own_loss(y, z):
    return keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True)
"""
_SAVE = """
import keras, own_layers
x = keras.Input((4,))
model = own_layers.OwnModel(x, keras.layers.Dense(3)(own_layers.Own()(x)))
model.compile(loss=own_layers.own_loss)
model.save("teacher.keras")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The directory of a module and of a model that needs it, written by another process."""
    (tmp_path / "own_layers.py").write_text(_MODULE)
    subprocess.run([sys.executable, "-c", _SAVE], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = dict(keras.saving.get_custom_objects())
    yield tmp_path
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(known)
    sys.modules.pop("own_layers", None)


def test_a_model_with_own_code_is_read_once_its_module_is_imported(module):
    import_modules(["own_layers"])
    teacher = Teacher(module / "teacher.keras", (0, 1))
    x = np.ones((2, 4), np.float32)
    np.testing.assert_allclose(teacher(x), 2.0 * x @ teacher.templates, rtol=1e-5)


def test_a_module_that_fails_is_refused(module):
    (module / "broken_module.py").write_text("1 / 0")
    with pytest.raises(InputError, match=r"`import` must .*'broken_module' \(ZeroDivisionError"):
        import_modules(["broken_module"])
