import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions import randomness

# Traced, as the generator uses them; one after the other they would be slow.
DRAWS = {
    "normals": tf.function(lambda *keyed: randomness.normals(*keyed, 3)),
    "uniforms": tf.function(lambda *keyed: randomness.uniforms(*keyed, 3)),
    "log_gammas": tf.function(
        lambda *keyed: randomness.log_gammas(*keyed, tf.fill((keyed[-1].shape[0], 3), 0.7))
    ),
}
log_gammas = tf.function(randomness.log_gammas)


@pytest.fixture(params=DRAWS)
def draw(request):
    return lambda seed, salt, indices: np.asarray(
        DRAWS[request.param](seed, salt, tf.constant(indices))
    )


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


def test_an_impression_does_not_depend_on_its_neighbours(draw):
    whole = draw(0, 1, list(range(10)))
    assert whole.shape == (10, 3)
    np.testing.assert_allclose(draw(0, 1, [7]), whole[7:8], rtol=1e-12)
    np.testing.assert_allclose(draw(0, 1, [9, 2, 4]), whole[[9, 2, 4]], rtol=1e-12)


def test_impressions_seeds_and_salts_differ(draw):
    whole = draw(0, 1, list(range(50)))
    assert len(np.unique(whole)) == whole.size
    assert not np.intersect1d(whole, draw(1, 1, list(range(50)))).size
    assert not np.intersect1d(whole, draw(0, 2, list(range(50)))).size


# Mean and variance of each draw, and the variance of the variance: N(0, 1), U(0, 1).
@pytest.mark.parametrize(
    ("name", "mean", "variance", "fourth"),
    [("normals", 0, 1, 2), ("uniforms", 0.5, 1 / 12, 1 / 180)],
)
def test_moments_of_many_impressions(name, mean, variance, fourth):
    draws = np.asarray(DRAWS[name](0, 1, tf.range(2000)), "float64")
    assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / draws.size)
    assert abs(draws.var() - variance) < 4 * np.sqrt(fourth / draws.size)
    # Neither neighbouring impressions nor the numbers of one are correlated.
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4 / np.sqrt(2000)
    assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 4 / np.sqrt(2000)


# E log Gamma(a) is the digamma function, Var log Gamma(a) the trigamma function, at a:
@pytest.mark.parametrize(
    ("shape", "digamma", "trigamma"),
    [
        (1.0, -0.5772156649, np.pi**2 / 6),
        (0.5, -1.9635100260, np.pi**2 / 2),
        (3.0, 0.9227843351, np.pi**2 / 6 - 1.25),
        (1e-4, -10000.5770512, 1e8 + np.pi**2 / 6),
    ],
)
def test_log_gammas_have_the_moments_of_the_distribution(shape, digamma, trigamma):
    count = 4000
    drawn = log_gammas(0, 1, tf.range(count), tf.fill((count, 1), shape)).numpy()
    assert drawn.dtype == np.float64
    assert np.all(np.isfinite(drawn))
    assert abs(drawn.mean() - digamma) < 4 * np.sqrt(trigamma / count)
    assert drawn.var() == pytest.approx(trigamma, rel=0.25)


def test_log_gammas_of_one_impression_have_each_its_own_shape():
    shapes = tf.tile([[0.01, 2.0, 50.0]], (500, 1))
    drawn = log_gammas(0, 1, tf.range(500), shapes).numpy()
    # digamma at 0.01, 2 and 50
    np.testing.assert_allclose(drawn[:, 1:].mean(0), [0.4227843351, 3.9019896735], atol=0.15)
    assert drawn[:, 0].mean() == pytest.approx(-100.5608855, abs=4 * 100 / np.sqrt(500))
