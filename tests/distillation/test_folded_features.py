"""`FoldedFeatures`: hints on folded channels."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.features import FeatureMatch
from keras_zskd.distillation.folded_features import FoldedFeatures
from keras_zskd.models.logits import logits_view
from keras_zskd.models.teacher import Teacher

# From the 6 units of the teacher's "hidden" to the 3 units of the student's.
CHANNELS = np.array([[0.3, 0, 0], [0.7, 0, 0], [0, 1, 0], [0, 0, 0.5], [0, 0, 0.25], [0, 0, 0.25]])


def _hidden(model, images):
    return np.asarray(keras.Model(model.inputs[0], model.get_layer("hidden").output)(images))


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("logits"), (0, 1))


@pytest.fixture
def student():
    keras.utils.set_random_seed(3)
    layers = [
        keras.Input((8, 8, 1)), keras.layers.Flatten(),
        keras.layers.Dense(3, activation="relu", name="hidden"), keras.layers.Dense(4),
    ]  # fmt: skip
    return keras.Sequential(layers)


def test_the_error_is_relative_to_the_variance_of_the_folded_features():
    random = np.random.default_rng(0)
    theirs = random.normal(2, 3, (5, 4, 4, 6)).astype("float32")
    ours = random.normal(2, 3, (5, 4, 4, 3)).astype("float32")
    loss = FoldedFeatures("a", "b", CHANNELS)
    folded = theirs @ CHANNELS
    variance = ((folded - folded.mean(axis=(0, 1, 2))) ** 2).mean()
    expected = ((folded - ours) ** 2).mean(axis=-1) / variance
    np.testing.assert_allclose(loss.relative_error(theirs, ours), expected, rtol=1e-4)
    np.testing.assert_allclose(loss.relative_error(theirs, folded.astype("float32")), 0, atol=1e-10)
    # A dead layer, which outputs 0.
    assert np.isfinite(loss.relative_error(0 * theirs, ours)).all()


def test_is_a_loss_of_a_distiller(teacher, student, make_images):
    loss, images = FoldedFeatures("hidden", "hidden", CHANNELS), make_images(7)
    match = FeatureMatch(teacher, logits_view(student), [loss], [2.0])
    folded = _hidden(teacher.original, images) @ CHANNELS
    variance = ((folded - folded.mean(axis=0)) ** 2).mean()
    expected = 2 * ((folded - _hidden(student, images)) ** 2).mean(axis=-1) / variance
    np.testing.assert_allclose(match(images, None, False)[2], expected, rtol=1e-4)

    distiller = Distiller(teacher, student, distillation_losses=[loss])
    distiller.compile(keras.optimizers.Adam(1e-2))

    def error():
        features = _hidden(teacher.original, images), _hidden(student, images)
        return float(np.mean(loss.relative_error(*features)))

    before = error()
    distiller.fit(images, epochs=40, verbose=0)
    assert error() < 0.7 * before


def test_survives_saving(teacher, student):
    loss = FoldedFeatures("hidden", "hidden", CHANNELS)
    config = Distiller(teacher, student, distillation_losses=[loss]).get_config()
    (again,) = Distiller.from_config(config).distillation_losses
    assert (again.teacher_layer_name, again.student_layer_name) == ("hidden", "hidden")
    np.testing.assert_array_equal(again.channels, loss.channels)


@pytest.mark.parametrize("channels", [CHANNELS[:5], CHANNELS[:, :2]])
def test_channels_of_other_layers_are_rejected(teacher, student, channels):
    with pytest.raises(InputError, match="`channels` must have shape"):
        Distiller(
            teacher, student, distillation_losses=[FoldedFeatures("hidden", "hidden", channels)]
        )
