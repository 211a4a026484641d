"""What is refused as a teacher, in one sentence, and what only looks as if it had to be."""

import keras
import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher

layers = keras.layers


def table(*stack, shape=(6,), end=None):
    return keras.Sequential([keras.Input(shape), *stack, end or layers.Dense(3)], name="table")


def quantized():
    model = table(layers.Dense(8))
    model.quantize("int8")
    return model


REFUSED = {
    "tokens": (
        lambda: table(layers.Embedding(9, 4), layers.GlobalAveragePooling1D()),
        "layer of type Embedding, a classifier of text",
    ),
    "strings": (
        lambda: keras.Sequential(
            [
                keras.Input((1,), dtype="string"),
                layers.TextVectorization(output_mode="multi_hot", vocabulary=["a", "b"]),
                layers.Dense(2),
            ]
        ),
        "a classifier of text",
    ),
    "hashing": (lambda: table(layers.Hashing(4), layers.Dense(4)), "type Hashing"),
    "nested": (lambda: table(table(layers.Discretization([0.5]))), "type Discretization"),
    "quantized": (quantized, r"quantized to int8.*before model.quantize\(\)"),
    "lambda": (lambda: table(layers.Dense(4, activation=lambda x: x * x)), "named function"),
    "regressor": (lambda: table(end=layers.Dense(3, "tanh")), "activation 'tanh'"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method")
def test_what_no_method_supports_is_refused_with_the_reason(kind):
    build, said = REFUSED[kind]
    with pytest.raises(InputError, match=said):
        Teacher(build(), (0, 1))


@keras.saving.register_keras_serializable(package="test_classifier")
class OwnModel(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(8)
        self.norm = layers.BatchNormalization()
        self.head = layers.Dense(3)

    def call(self, x, training=None):
        x = self.norm(self.hidden(x), training=training)
        return self.head(keras.ops.relu(x))

    def train_step(self, data):
        raise NotImplementedError


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_subclassed_model_is_read_by_its_call(tmp_path, is_nested):
    model = OwnModel()
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    model(x)
    if is_nested:
        model = keras.Sequential([keras.Input((6,)), model])
    model.save(tmp_path / "own.keras")
    teacher = Teacher(tmp_path / "own.keras", (-2, 2))
    np.testing.assert_allclose(teacher(x), model(x, training=False), atol=1e-5)
    assert teacher.templates.shape == (8, 3)
    assert len(teacher.batch_norms) == 1
    assert slim(teacher.original, 0.5).count_params() < model.count_params()


def test_a_subclassed_model_whose_call_cannot_be_read_is_refused():
    class Own(keras.Model):
        def call(self, x):
            return x.numpy()

    model = Own()
    model.built = True
    with pytest.raises(InputError, match=r"`model` must be .*Wrap it"):
        Teacher(model, (0, 1))


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (lambda: layers.Dense(3, activation="log_softmax"), "log_softmax"),
        (lambda: layers.Dense(3, activation="relu"), "relu"),
    ],
)
@pytest.mark.filterwarnings("ignore:The logits of teacher")
def test_an_activation_of_the_logits_is_left_out_inside_and_kept_by_students(end, name):
    model = table(layers.Dense(8, "relu"), end=end())
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    teacher = Teacher(model, (0, 1))
    assert teacher.ends_in == name
    outside = getattr(keras.ops, name)(teacher(x))
    np.testing.assert_allclose(outside, model(x), atol=1e-5)
    assert teacher.templates.shape == (8, 3)
    assert slim(model, 0.5).layers[-1].activation is model.layers[-1].activation


def test_names_that_tensorflow_refuses_in_graphs():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, name="größe\n 1"), layers.Dense(3, name="_b")],
        name="ö\n",
    )
    x = np.ones((2, 6), np.float32)
    for copy in (Teacher(model, (0, 1)).model, slim(model, 0.5)):
        assert copy.predict(x, verbose=0).shape == (2, 3)


def test_a_relu_on_the_logits_is_warned_of():
    with pytest.warns(UserWarning, match="pass a ReLU"):
        Teacher(table(end=layers.Dense(3, "relu")), (0, 1))


@pytest.mark.parametrize("activation", ["sigmoid", None])
@pytest.mark.filterwarnings("ignore:Teacher 'table' has a single output")
def test_one_output_is_two_classes(activation):
    model = table(layers.Dense(8, "relu"), end=layers.Dense(1, activation))
    model.compile(loss="binary_crossentropy")
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    teacher = Teacher(model, (0, 1))
    z = model(x) if activation is None else None
    probability = np.asarray(model(x) if z is None else keras.ops.sigmoid(z))[:, 0]
    np.testing.assert_allclose(keras.ops.softmax(teacher(x))[:, 1], probability, atol=1e-6)
    features = teacher.tapped(teacher.penultimate)(x)
    bias = np.array([-0.5, 0.5]) * np.asarray(model.layers[-1].bias)
    np.testing.assert_allclose(features @ teacher.templates + bias, teacher(x), atol=1e-5)
    assert teacher.num_classes == 2
    assert teacher.at_precision("mixed_bfloat16").templates.shape == (8, 2)


def test_a_regressor_with_one_output_is_refused():
    model = table(end=layers.Dense(1))
    model.compile(loss="mse")
    with pytest.raises(InputError, match="of a regressor"):
        Teacher(model, (0, 1))
