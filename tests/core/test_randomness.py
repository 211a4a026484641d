import numpy as np
import pytest

from keras_zskd.core import randomness

DRAWS = {
    "normals": lambda *keyed: randomness.normals(*keyed, 3),
    "uniforms": lambda *keyed: randomness.uniforms(*keyed, 3),
    "log_gammas": lambda *keyed: randomness.log_gammas(*keyed, np.full((len(keyed[-1]), 3), 0.7)),
}


@pytest.fixture(params=DRAWS)
def draw(request):
    return DRAWS[request.param]


def _philox(counter, key, rounds=10):
    """Four words of Philox 4x64 (Salmon et al., SC 2011, section 3.3)."""
    word = 2**64
    x, k = list(counter), list(key)
    for _ in range(rounds):
        first, second = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [
            (second // word) ^ x[1] ^ k[0], second % word,
            (first // word) ^ x[3] ^ k[1], first % word,
        ]  # fmt: skip
        k = [(k[0] + 0x9E3779B97F4A7C15) % word, (k[1] + 0xBB67AE8584CAA73B) % word]
    return x


class TestGenerator:
    def test_is_philox_keyed_by_seed_and_salt_starting_at_the_index(self):
        # The counter is incremented before the first words.
        words = randomness.generator(3, 7, 4711).bit_generator.random_raw(8)
        expected = _philox((1, 0, 0, 4711), (3, 7)) + _philox((2, 0, 0, 4711), (3, 7))
        assert list(words) == expected

    def test_the_same_key_gives_the_same_numbers(self):
        one, again = (randomness.generator(3, 1, 2).random(5) for _ in range(2))
        np.testing.assert_array_equal(one, again)

    def test_seed_salt_index_and_their_order_change_the_numbers(self):
        keys = [(3, 1, 2), (4, 1, 2), (3, 2, 2), (3, 1, 3), (3, 2, 1), (1, 3, 2), (2, 1, 3)]
        drawn = {randomness.generator(*key).random() for key in keys}
        assert len(drawn) == len(keys)

    @pytest.mark.parametrize("kind", [int, np.int32, np.int64, np.uint64])
    def test_the_integer_type_of_the_index_does_not_matter(self, kind):
        expected = randomness.generator(2**31 - 1, 1, 12).random(3)
        found = randomness.generator(2**31 - 1, 1, kind(12)).random(3)
        np.testing.assert_array_equal(found, expected)


class TestDraws:
    def test_an_impression_does_not_depend_on_the_others(self, draw):
        whole = draw(0, 1, list(range(10)))
        assert whole.shape == (10, 3)
        np.testing.assert_array_equal(draw(0, 1, [7]), whole[7:8])
        np.testing.assert_array_equal(draw(0, 1, np.array([9, 2, 4])), whole[[9, 2, 4]])

    def test_impressions_seeds_and_salts_differ(self, draw):
        whole = draw(0, 1, list(range(50)))
        assert len(np.unique(whole)) == whole.size
        assert not np.intersect1d(whole, draw(1, 1, list(range(50)))).size
        assert not np.intersect1d(whole, draw(0, 2, list(range(50)))).size

    @pytest.mark.parametrize("name", ["normals", "uniforms"])
    def test_the_count_does_not_change_the_numbers(self, name):
        draw = getattr(randomness, name)
        few, many = draw(0, 1, [5], 4), draw(0, 1, [5], 400)
        assert few.dtype == many.dtype == np.float32
        np.testing.assert_array_equal(few, many[:, :4])

    @pytest.mark.parametrize("name", ["normals", "uniforms"])
    def test_empty_draws(self, name):
        draw = getattr(randomness, name)
        assert draw(0, 1, [], 3).shape == (0, 3)
        assert draw(0, 1, [1, 2], 0).shape == (2, 0)

    # Mean, variance and variance of the variance of each draw: N(0, 1), U(0, 1).
    @pytest.mark.parametrize(
        ("name", "mean", "variance", "fourth"),
        [("normals", 0, 1, 2), ("uniforms", 0.5, 1 / 12, 1 / 180)],
    )
    def test_moments_of_many_impressions(self, name, mean, variance, fourth):
        draws = DRAWS[name](0, 1, range(2000)).astype("float64")
        assert abs(draws.mean() - mean) < 4 * np.sqrt(variance / draws.size)
        assert abs(draws.var() - variance) < 4 * np.sqrt(fourth / draws.size)
        # Neither consecutive impressions nor the numbers of one impression are correlated.
        assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4 / np.sqrt(2000)
        assert abs(np.corrcoef(draws[:, 0], draws[:, 1])[0, 1]) < 4 / np.sqrt(2000)

    def test_uniforms_are_at_least_0_and_below_1(self):
        drawn = randomness.uniforms(0, 1, range(200), 1000)
        assert 0 <= drawn.min() < 1e-4
        assert 1 - 1e-4 < drawn.max() < 1


class TestLogGammas:
    # E log Gamma(a) is the digamma function and Var log Gamma(a) the trigamma function at a.
    @pytest.mark.parametrize(
        ("shape", "digamma", "trigamma"),
        [
            (1.0, -0.5772156649, np.pi**2 / 6),
            (0.5, -1.9635100260, np.pi**2 / 2),
            (3.0, 0.9227843351, np.pi**2 / 6 - 1.25),
            (1e-4, -10000.5770512, 1e8 + np.pi**2 / 6),
        ],
    )
    def test_have_the_moments_of_the_distribution(self, shape, digamma, trigamma):
        count = 4000
        drawn = randomness.log_gammas(0, 1, range(count), np.full((count, 1), shape))
        assert drawn.dtype == np.float64
        assert np.all(np.isfinite(drawn))
        assert abs(drawn.mean() - digamma) < 4 * np.sqrt(trigamma / count)
        assert drawn.var() == pytest.approx(trigamma, rel=0.25)

    def test_each_number_of_an_impression_has_its_own_shape(self):
        drawn = randomness.log_gammas(0, 1, range(500), np.tile([[0.01, 2.0, 50.0]], (500, 1)))
        # Digamma function at 0.01, 2 and 50.
        np.testing.assert_allclose(drawn[:, 1:].mean(0), [0.4227843351, 3.9019896735], atol=0.15)
        assert drawn[:, 0].mean() == pytest.approx(-100.5608855, abs=4 * 100 / np.sqrt(500))
