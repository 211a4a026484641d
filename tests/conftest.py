"""Fixtures shared by all tests.

TensorFlow fixes its devices when it first computes, so the two logical CPUs that the distribution
tests need are asked for here, before any test module is imported. Tests that do not use a strategy
see `CPU:0` as ever.

Teachers: `make_teacher(kind)` builds a tiny classifier with random weights; `TEACHER_KINDS` names
every kind, and the fixture `any_teacher` runs a test once for each of them.
"""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# LLVM's optimization of code that runs once took about a fifth of the tests that compile.
# `test_pinned_result.py` runs code that is compiled as for users.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# Each worker of pytest-xdist has a core for itself. More threads would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import keras
import numpy as np
import pytest
import tensorflow as tf

# Optimizing graphs takes longer than running them a few times.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
_CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_finish():
    """Exempt the imported modules from garbage collection, which would visit them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


# Files that take longest. A worker runs a whole file, so these start first.
_SLOWEST = ("jobs/test_distilling.py", "methods/test_battery.py", "tests/test_examples.py")


@pytest.fixture(scope="session", autouse=True)
def quick_disk():
    """Skip waiting for the disk; files survive the death of a process without it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def short_measurements():
    """Measure the speed of a training for an estimate in less than four seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_zskd.runs.rehearsal._PACE_SECONDS", 0.2)
        yield


@pytest.fixture(scope="module")
def without_xla():
    """Run the steps as plain TensorFlow graphs: XLA would compile longer than they run.

    In float32 as with XLA, also where the processor has bfloat16.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_zskd.impressions.generator.has_bfloat16", lambda: False)
        for user in ("distillation.distiller", "impressions.generator"):
            patch.setattr(f"keras_zskd.{user}.compiles_well", lambda *_, **__: False)
        yield


NUM_CLASSES = 4
INPUT_SHAPE = (8, 8, 1)

TEACHER_KINDS = (
    "logits",
    "softmax",
    "softmax_layer",
    "batch_norm",
    "nested",
    "nested_softmax",
    "sequential",
    "conv_head",
)


def build_teacher(
    kind: str = "logits",
    num_classes: int = NUM_CLASSES,
    input_shape: tuple[int, int, int] = INPUT_SHAPE,
    seed: int = 0,
) -> keras.Model:
    """Builds a tiny classifier with random weights; every kind has the same duty.

    Args:
        kind: One of `TEACHER_KINDS`: how the classifier ends or is put together.
        num_classes: Number of outputs.
        input_shape: Shape of one image, without the batch.
        seed: Seeds the weights; two calls with the same arguments give equal weights.
    """
    if kind not in TEACHER_KINDS:
        raise ValueError(f"Received kind={kind!r}; expected one of {TEACHER_KINDS}.")
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    inputs = keras.Input(input_shape, name="image")
    if kind == "sequential":
        model = keras.Sequential(
            [
                inputs,
                layers.Conv2D(4, 3, activation="relu", name="conv"),
                layers.Flatten(name="flatten"),
                layers.Dense(6, activation="relu", name="hidden"),
                layers.Dense(num_classes, name="head"),
            ],
            name=kind,
        )
        return _with_peaked_head(model, seed)
    if kind.startswith("nested"):
        x = _body(input_shape, batch_norm=True)(inputs)
        end = "softmax" if kind == "nested_softmax" else None
        head = keras.Sequential(
            [keras.Input(x.shape[1:]), layers.Dense(num_classes, activation=end, name="head")],
            name="classifier",
        )
        return _with_peaked_head(keras.Model(inputs, head(x), name=kind), seed)
    x = layers.Conv2D(4, 3, activation=None if kind == "batch_norm" else "relu", name="conv")(
        inputs
    )
    if kind == "batch_norm":
        x = layers.BatchNormalization(name="bn")(x)
        x = layers.ReLU(name="relu")(x)
    if kind == "conv_head":
        x = layers.Conv2D(num_classes, 1, name="head")(x)
        outputs = layers.GlobalAveragePooling2D(name="pool")(x)
        return _with_peaked_head(keras.Model(inputs, outputs, name=kind), seed)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(x)
    outputs = layers.Dense(
        num_classes, activation="softmax" if kind == "softmax" else None, name="head"
    )(x)
    if kind == "softmax_layer":
        outputs = layers.Softmax(name="probabilities")(outputs)
    return _with_peaked_head(keras.Model(inputs, outputs, name=kind), seed)


def _body(input_shape: tuple[int, int, int], batch_norm: bool) -> keras.Model:
    """A model to be nested in another, as `keras.applications` models are."""
    layers = keras.layers
    inputs = keras.Input(input_shape)
    x = layers.Conv2D(4, 3, name="inner_conv")(inputs)
    if batch_norm:
        x = layers.BatchNormalization(name="inner_bn")(x)
    x = layers.ReLU(name="inner_relu")(x)
    return keras.Model(inputs, layers.Flatten(name="inner_flatten")(x), name="body")


def _with_peaked_head(model: keras.Model, seed: int) -> keras.Model:
    """Gives random weights some contrast: biases, batch-norm statistics and confident outputs.

    Fresh layers have zero biases and batch norms of mean 0 and variance 1, under which an error in
    their use does not show.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        value = variable.numpy()
        path = variable.path
        if path.endswith(("bias", "beta", "moving_mean")):
            variable.assign(rng.normal(0.0, 0.2, value.shape))
        elif path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.5, 1.5, value.shape))
        elif path.endswith("head/kernel"):
            variable.assign(3.0 * value)
    return model


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first; `make unit` keeps this order."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(_SLOWEST))


@pytest.fixture(scope="session")
def make_teacher():
    """The function `build_teacher(kind, num_classes, input_shape, seed)`."""
    return build_teacher


@pytest.fixture
def tiny_teacher() -> keras.Model:
    """A tiny random classifier that ends in logits, 8x8x1 to 4 classes."""
    return build_teacher("logits")


@pytest.fixture
def multi_label_teacher() -> keras.Model:
    """A tiny random classifier that ends in four sigmoids, of inputs 8x8x1."""
    inputs = keras.Input(INPUT_SHAPE)
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, keras.layers.Dense(NUM_CLASSES, activation="sigmoid")(x))


@pytest.fixture(params=TEACHER_KINDS)
def any_teacher(request) -> keras.Model:
    """Every kind of tiny random classifier, one test each."""
    return build_teacher(request.param)


@pytest.fixture
def make_images():
    """A function that gives uniform random images in [0, 1], (num, *input_shape) float32."""

    def make(num: int = 8, input_shape: tuple[int, ...] = INPUT_SHAPE, seed: int = 0) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return rng.uniform(0.0, 1.0, (num, *input_shape)).astype("float32")

    return make


@pytest.fixture
def saved_teacher(tmp_path, tiny_teacher) -> str:
    """The path of a `.keras` file that holds `tiny_teacher`."""
    path = str(tmp_path / "teacher.keras")
    tiny_teacher.save(path)
    return path


@pytest.fixture(scope="session")
def two_replicas() -> tf.distribute.Strategy:
    """A `MirroredStrategy` on the two logical CPUs."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


class Kill(keras.callbacks.Callback):
    """Ends a training in its call number `after`, as a signal that cannot be caught would.

    Args:
        after: 1 or more, of the calls that a training makes.
    """

    class Error(Exception):
        """What ends it."""

    def __init__(self, after: int):
        super().__init__()
        self.left = after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            raise self.Error


@pytest.fixture
def kill() -> type[Kill]:
    """The callback `kill(after)`; it raises `kill.Error`."""
    return Kill


@pytest.fixture(autouse=True)
def _same_start_for_every_test():
    """Seeds Python, NumPy and TensorFlow before a test and takes back a changed dtype policy."""
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
