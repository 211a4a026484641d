import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.adversarial_distiller import AdversarialDistiller
from keras_zskd.distillation.attention_transfer import attention_distance, attention_pairs
from keras_zskd.methods.zskt import ZSKT
from keras_zskd.models.teacher import Teacher


def attention(maps):
    energy = (np.asarray(maps, "float64") ** 2).mean(-1).reshape(len(maps), -1)
    return energy / np.linalg.norm(energy, axis=-1, keepdims=True)


def network(channels, seed=0):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential([
        keras.Input((8, 8, 1)), layers.Conv2D(channels, 3, padding="same", name="wide"),
        layers.ReLU(name="relu"), layers.Conv2D(channels, 3, strides=2, name="narrow"),
        layers.Flatten(), layers.Dense(4),
    ])  # fmt: skip


def test_the_distance_against_numpy(make_images):
    teacher, student = make_images(3, (4, 5, 6)), make_images(3, (4, 5, 2), seed=1)
    expected = ((attention(teacher) - attention(student)) ** 2).mean(-1)
    np.testing.assert_allclose(attention_distance(teacher, student), expected, rtol=1e-4)
    # The scale and the number of channels do not count.
    twice = np.concatenate([teacher, teacher], -1) * 3.0
    np.testing.assert_allclose(attention_distance(teacher, twice), 0.0, atol=1e-10)


def test_pairs_are_the_last_maps_of_each_common_size():
    teacher, student = (keras.Model(m.inputs, m.outputs) for m in (network(6), network(2)))
    pairs = attention_pairs(teacher, student)
    assert [(tuple(a.shape[1:]), tuple(b.shape[1:])) for a, b in pairs] == [
        ((8, 8, 6), (8, 8, 2)), ((3, 3, 6), (3, 3, 2)),
    ]  # fmt: skip
    inputs = keras.Input((8, 8, 1))
    dense = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(inputs)))
    assert attention_pairs(teacher, dense) == []


def test_the_term_is_added_to_the_loss_of_the_student(make_images):
    teacher, student = Teacher(network(6), (0, 1)), network(2, seed=1)
    generator = keras.Sequential([
        keras.Input((5,)), keras.layers.Dense(64, "sigmoid"), keras.layers.Reshape((8, 8, 1)),
    ])  # fmt: skip
    method = ZSKT(attention=7.0)
    z = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
    images = generator(z)
    parts = []
    for model in (teacher.original, student):
        outputs = [model.get_layer(name).output for name in ("relu", "narrow")]
        parts.append(keras.Model(model.inputs[0], outputs)(images))
    distances = sum(
        ((attention(theirs) - attention(ours)) ** 2).mean(-1)
        for theirs, ours in zip(*parts, strict=True)
    )
    divergence = method.student_loss(teacher(images), student(images)).numpy()
    distiller = AdversarialDistiller(
        teacher, student, generator, method.generator_loss, method.student_loss, attention=7.0
    )
    distiller.compile(keras.optimizers.SGD(0.0), generator_optimizer=keras.optimizers.SGD(0.0))
    data = tf.data.Dataset.from_tensors(z)
    history = distiller.fit(data, steps_per_epoch=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(np.mean(divergence + 7.0 * distances), rel=1e-4)


def test_a_negative_weight_is_refused():
    with pytest.raises(InputError, match="attention=-1"):
        ZSKT(attention=-1)
