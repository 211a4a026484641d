import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.source import Arrays, Mixture, Noise


def taken(source, count, seed=0, first_step=0, batch_size=6):
    return list(source.stream(batch_size, seed, first_step).take(count).as_numpy_iterator())


SOURCES = {
    "arrays": Arrays({"image": np.arange(20.0).reshape(10, 2)}),
    "noise": Noise((2,), mean=0.5, stddev=0.1),
    "mixture": Mixture(
        [Arrays({"image": np.arange(20.0).reshape(10, 2)}), Arrays({"image": -np.ones((4, 2))})],
        (1, 2),
    ),
}


def images(batch):
    return batch["image"] if isinstance(batch, dict) else batch


@pytest.mark.parametrize("name", SOURCES)
class TestEverySource:
    @pytest.mark.parametrize("first", [1, 2, 9])
    def test_a_batch_is_a_function_of_seed_and_step(self, name, first):
        source = SOURCES[name]
        whole = [images(batch) for batch in taken(source, first + 3)]
        part = [images(batch) for batch in taken(source, 3, first_step=first)]
        np.testing.assert_array_equal(part, whole[first:])
        assert not np.array_equal(whole[0], whole[1])

    def test_the_seed_matters(self, name):
        one, again, other = (
            [images(batch) for batch in taken(SOURCES[name], 2, seed)] for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, again)
        assert not np.array_equal(one, other)

    def test_images(self, name):
        assert SOURCES[name].images(4).shape == (4, 2)


def test_steps_and_images_of_arrays():
    x, y = np.arange(8.0).reshape(4, 2), np.arange(4)
    for arrays in (x, (x, y), {"image": x, "logits": y}):
        source = Arrays(arrays)
        assert source.steps(3) == 2
        np.testing.assert_array_equal(source.images(3), x[:3])
    with pytest.raises(InputError, match="must hold examples"):
        Arrays(x[:0])


def test_a_mixture_has_the_given_shares():
    mixture = SOURCES["mixture"]
    for batch in taken(mixture, 5):
        assert np.sum(batch["image"][:, 0] == -1) == 4
    # Ten examples, two per step.
    assert mixture.steps(6) == 5
    assert Mixture([Noise((2,))]).steps(6) is None


def test_a_mixture_uses_a_separate_seed_per_source():
    (batch,) = taken(Mixture([Noise((2,)), Noise((2,))]), 1)
    assert not np.array_equal(batch[:3], batch[3:])


def test_a_mixture_keeps_the_common_entries():
    x = np.zeros((4, 2))
    (batch,) = taken(Mixture([Arrays({"image": x, "logits": x}), Arrays({"image": x})]), 1)
    assert set(batch) == {"image"}


@pytest.mark.parametrize("shares", [(1,), (0, 0), (1, -1)])
def test_invalid_shares_raise(shares):
    with pytest.raises(InputError, match="one number of 0 or more per source"):
        Mixture([Noise((1,)), Noise((1,))], shares)


def test_noise_is_normal():
    (batch,) = taken(Noise((50,), mean=2.0, stddev=3.0), 1, batch_size=400)
    assert abs(batch.mean() - 2.0) < 4.5 * 3.0 / np.sqrt(batch.size)
    assert batch.std() == pytest.approx(3.0, rel=0.03)
    assert Noise((3,)).steps(10) is None
