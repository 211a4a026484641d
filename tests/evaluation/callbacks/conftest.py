"""A fake ImpressionGenerator with batches made by hand, and a reader of summaries."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf


class FakeGenerator:
    """Calls callbacks with batches, as `ImpressionGenerator.generate` does."""

    def __init__(self, batches, temperature=2.0, input_range=(0.0, 1.0)):
        self.teacher = types.SimpleNamespace(input_range=input_range, is_multi_label=False)
        objective = types.SimpleNamespace(temperature=temperature)
        self.engine = types.SimpleNamespace(objective=objective, teacher=self.teacher)
        self.optimizer = None
        self.stop_training = False
        self.latest = {}
        self.batches = batches

    def run(self, *callbacks, checkpoints=3):
        watchers = keras.callbacks.CallbackList(
            list(callbacks), model=self, epochs=len(self.batches)
        )
        watchers.on_train_begin()
        for number, batch in enumerate(self.batches):
            watchers.on_epoch_begin(number)
            for checkpoint in range(checkpoints):
                self.latest = batch
                watchers.on_train_batch_end(checkpoint)
            watchers.on_epoch_end(number, {"gap": 0.0})
        watchers.on_train_end()


def make_batch(label, logits, target=None, shape=(8, 8, 1), seed=0):
    """The arrays of a finished batch with these conditioning classes and logits."""
    logits = np.asarray(logits, np.float32)
    rng = np.random.default_rng(seed)
    count, classes = logits.shape
    target = np.eye(classes, dtype=np.float32)[label] if target is None else np.float32(target)
    return {
        "image": rng.uniform(size=(count, *shape)).astype(np.float32),
        "target": target,
        "label": np.asarray(label, np.int64),
        "logits": logits,
        "cross_entropy": np.full(count, 0.75, np.float32),
        "gap": np.full(count, 0.25, np.float32),
        "confidence": np.full(count, 0.5, np.float32),
        "steps": np.full(count, 30),
    }


def read_summaries(directory):
    """tag -> list of (step, value): floats of scalars, PNG bytes of images, or bucket arrays."""
    found = {}
    for path in sorted(tf.io.gfile.glob(f"{directory}/events*")):
        for record in tf.data.TFRecordDataset(path):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                if value.tag not in found:
                    found[value.tag] = []
                if array.dtype == object:
                    array = array[2]  # width, height, PNG
                found[value.tag].append((event.step, array))
    return found


@pytest.fixture
def fake_generator():
    return FakeGenerator


@pytest.fixture
def batch():
    return make_batch


@pytest.fixture
def summaries():
    return read_summaries
