import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.evaluation import callbacks
from keras_zskd.models.teacher import Teacher


@pytest.fixture
def frozen_distiller(make_teacher):
    """A distiller whose student never changes, and its two models."""
    teacher, student = make_teacher("logits"), make_teacher("softmax", seed=1)
    distiller = Distiller(Teacher(teacher, (0, 1)), student)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0))
    return distiller, teacher, student


def test_agreement_is_in_the_history_and_in_tensorboard(
    tmp_path, frozen_distiller, make_images, summaries
):
    distiller, teacher, student = frozen_distiller
    images = make_images(37)
    named = [model.predict(images, verbose=0).argmax(axis=1) for model in (teacher, student)]
    expected = np.mean(named[0] == named[1])
    assert 0.0 < expected < 1.0
    callback = callbacks.HeldOutAgreement(images, log_dir=tmp_path, batch_size=10)
    history = distiller.fit(make_images(8), epochs=2, verbose=0, callbacks=[callback]).history
    np.testing.assert_allclose(history["held_out_agreement"], [expected, expected])
    found = summaries(tmp_path / "held_out_agreement")["held_out_agreement"]
    assert [step for step, _ in found] == [0, 1]
    np.testing.assert_allclose([float(value) for _, value in found], expected, rtol=1e-6)


def test_every_and_the_first_and_last_epoch(frozen_distiller, make_images):
    distiller, _, student = frozen_distiller
    callback = callbacks.HeldOutAgreement(make_images(20), every=3)
    zero = [np.zeros_like(weight) for weight in student.get_weights()]
    spoil = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: student.set_weights(zero) if epoch == 1 else None
    )
    history = distiller.fit(
        make_images(8), epochs=5, verbose=0, callbacks=[spoil, callback]
    ).history
    assert [epoch for epoch, _ in callback.history] == [0, 2, 4]
    values = history["held_out_agreement"]
    assert values[0] == values[1] != values[2] == values[3] == values[4]


def test_early_stopping_can_monitor_it(frozen_distiller, make_images):
    distiller, _, _ = frozen_distiller
    stop = keras.callbacks.EarlyStopping(monitor="held_out_agreement", mode="max", patience=1)
    watch = callbacks.HeldOutAgreement(make_images(20))
    history = distiller.fit(make_images(8), epochs=9, verbose=0, callbacks=[watch, stop]).history
    assert len(history["loss"]) == 2


def test_a_keras_model_with_an_explicit_teacher(tmp_path, make_teacher, make_images):
    model = make_teacher("logits")
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    twin = callbacks.HeldOutAgreement(make_images(9), Teacher(make_teacher("logits"), (0, 1)))
    model.fit(make_images(4), np.zeros((4, 4)), verbose=0, callbacks=[twin])
    assert twin.history == [(0, 1.0)]
    with pytest.raises(InputError, match="`teacher` must be passed to HeldOutAgreement"):
        model.fit(
            make_images(4), np.zeros((4, 4)), verbose=0,
            callbacks=[callbacks.HeldOutAgreement(make_images(9))],
        )  # fmt: skip


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_single_output_is_a_choice_between_two_classes(activation, make_images):
    images = make_images(64)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1, activation)]
    )
    kernel = np.random.default_rng(0).normal(size=(64, 1))
    model.layers[-1].kernel.assign(kernel - kernel.mean())
    share = np.mean(model.predict(images, verbose=0) > (0.5 if activation else 0.0))
    assert 0.0 < share < 1.0
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(loss="binary_crossentropy")  # Without a loss, a Teacher warns of regressors.
    distiller = Distiller(Teacher(twin, (0, 1)), model)
    distiller.compile(optimizer=keras.optimizers.SGD(0.0))
    own = callbacks.HeldOutAgreement(images)
    of_keras_model = callbacks.HeldOutAgreement(images, model, name="of_keras_model")
    distiller.fit(make_images(8), verbose=0, callbacks=[own, of_keras_model])
    assert own.history == of_keras_model.history == [(0, 1.0)]


def test_a_model_without_a_view_of_its_logits(make_images):
    class Written(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)

        def call(self, x):
            return keras.ops.tanh(self.dense(keras.ops.reshape(x, (-1, 64))))

    model, images = Written(), make_images(9)
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    twin = callbacks.HeldOutAgreement(images, lambda x: model(x))
    model.fit(images, np.zeros((9, 4)), verbose=0, callbacks=[twin])
    assert twin.history == [(0, 1.0)]


def test_under_two_replicas(two_replicas, make_teacher, make_images):
    with two_replicas.scope():
        student = make_teacher("batch_norm")
        distiller = Distiller(Teacher(make_teacher("batch_norm"), (0, 1)), student)
        distiller.compile(optimizer=keras.optimizers.SGD(0.0))
    callback = callbacks.HeldOutAgreement(make_images(16))
    distiller.fit(make_images(8), batch_size=4, epochs=1, verbose=0, callbacks=[callback])
    assert 0.0 <= callback.history[0][1] <= 1.0


def test_invalid_arguments_raise(make_images):
    with pytest.raises(InputError, match="every=0"):
        callbacks.HeldOutAgreement(make_images(2), every=0)
    with pytest.raises(InputError, match="at least one image"):
        callbacks.HeldOutAgreement(np.zeros((0, 8, 8, 1)))
