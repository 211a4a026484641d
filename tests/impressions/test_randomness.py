import numpy as np
import tensorflow as tf

from keras_zskd.impressions import randomness


def _uniform(key):
    return tf.random.stateless_uniform((3,), key)


SPEC = tf.TensorSpec((3,), tf.float32)


def _draw(seed, salt, indices):
    return randomness.per_impression(_uniform, seed, salt, tf.constant(indices), SPEC).numpy()


def test_the_same_key_twice_is_the_same():
    np.testing.assert_array_equal(randomness.key(3, 1, 2), randomness.key(3, 1, 2))


def test_seed_and_every_salt_and_their_order_change_the_key():
    keys = [
        tuple(randomness.key(*arguments).numpy())
        for arguments in ((3, 1, 2), (4, 1, 2), (3, 2, 2), (3, 1, 3), (3, 2, 1), (3, 1), (3,))
    ]
    assert len(set(keys)) == len(keys)


def test_keys_are_the_same_inside_a_function_and_from_tensors():
    traced = tf.function(lambda seed, index: randomness.key(seed, 1, index))
    np.testing.assert_array_equal(
        traced(tf.constant(3), tf.constant(7, tf.int64)), randomness.key(3, 1, 7)
    )


def test_an_impression_does_not_depend_on_its_neighbours():
    whole = _draw(0, 1, list(range(10)))
    assert whole.shape == (10, 3)
    np.testing.assert_array_equal(_draw(0, 1, [7]), whole[7:8])
    np.testing.assert_array_equal(_draw(0, 1, [9, 2, 4]), whole[[9, 2, 4]])


def test_impressions_seeds_and_salts_differ():
    whole = _draw(0, 1, list(range(50)))
    assert len(np.unique(whole)) == whole.size
    assert not np.intersect1d(whole, _draw(1, 1, list(range(50)))).size
    assert not np.intersect1d(whole, _draw(0, 2, list(range(50)))).size


def test_draws_of_many_impressions_are_uniform():
    # 2,000 x 3 uniform draws: mean 1/2 and variance 1/12 within four standard errors.
    draws = _draw(0, 1, list(range(2000)))
    assert abs(draws.mean() - 0.5) < 4 * np.sqrt(1 / 12 / draws.size)
    assert abs(draws.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / draws.size)
    # Neighbouring impressions are not correlated.
    correlation = np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(2000)


def test_structures_of_draws():
    spec = {"a": tf.TensorSpec((), tf.float32), "b": SPEC}
    drawn = randomness.per_impression(
        lambda key: {"a": tf.random.stateless_normal((), key), "b": _uniform(key)},
        0, 1, tf.range(4), spec,
    )  # fmt: skip
    assert drawn["a"].shape == (4,)
    np.testing.assert_array_equal(drawn["b"], _draw(0, 1, [0, 1, 2, 3]))
