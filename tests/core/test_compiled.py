import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.compiled import compiled_on_cpu


@compiled_on_cpu
def scaled(images, factor, by=2.0):
    """Scaled images."""
    return by * factor * images


def parts_for_xla(function, *args):
    """Names of the functions in a graph that XLA must compile."""
    definition = tf.function(function).get_concrete_function(*args).graph.as_graph_def()
    return [f.signature.name for f in definition.library.function if f.attr["_XlaMustCompile"].b]


def test_is_compiled_in_a_graph_on_a_cpu():
    (name,) = parts_for_xla(scaled, tf.ones((2, 3)), tf.ones(()))
    assert "scaled" in name


def test_is_not_compiled_with_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    assert parts_for_xla(scaled, tf.ones((2, 3)), tf.ones(())) == []


def test_is_not_compiled_eagerly():
    seen = []

    @compiled_on_cpu
    def noted(values):
        seen.append(values)
        return values

    for value in (1.0, 2.0):
        noted(tf.constant(value))
    # A compiled function would be traced once, with a symbolic tensor.
    assert [float(values) for values in seen] == [1.0, 2.0]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_any_batch_size_and_python_values(count):
    images = np.arange(3.0 * count, dtype="float32").reshape(count, 3)
    run = tf.function(
        lambda images: scaled(images, tf.constant(0.5), by=3.0),
        input_signature=[tf.TensorSpec((None, 3))],
    )
    np.testing.assert_allclose(run(images), 1.5 * images)
    assert scaled.__doc__ == "Scaled images."


def test_under_two_replicas(two_replicas):
    @tf.function
    def run():
        def of_replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            return scaled(tf.ones((3,)), tf.cast(number, tf.float32))

        return two_replicas.run(of_replica)

    first, second = two_replicas.experimental_local_results(run())
    np.testing.assert_array_equal(first, [0, 0, 0])
    np.testing.assert_array_equal(second, [2, 2, 2])
