"""The teacher's choice of families, against figures computed in another way."""

import keras
import numpy as np
import pytest
from scipy.special import entr

import keras_zskd as zskd
from keras_zskd.distillation.family_choice import FamilyRatings, rate_families
from keras_zskd.inputs.procedural_pictures import ProceduralPictures, families_of


def ratings(predictions, entropies, distances):
    names = np.array([f"family{number}" for number in range(len(predictions))])
    return FamilyRatings(names, np.array(predictions), np.array(entropies), np.array(distances))


def objective(shares, rated, balance, evenness):
    return (
        shares @ rated.scores
        + balance * entr(shares @ rated.mean_prediction).sum()
        + evenness * entr(shares).sum()
    )


def test_shares_are_those_of_the_greatest_objective():
    random = np.random.default_rng(0)
    rated = ratings(random.dirichlet([0.5] * 4, 3), [0.2, 0.3, 0.1], [0.0, 0.2, 0.4])
    chosen = np.array(list(rated.shares(balance=0.7, evenness=0.5).values()))
    best = objective(chosen, rated, 0.7, 0.5)
    found = max(objective(other, rated, 0.7, 0.5) for other in random.dirichlet([1.0] * 3, 20_000))
    assert best >= found - 1e-6
    assert best == pytest.approx(found, abs=1e-3)


def test_what_fills_a_rare_class_gets_a_share_that_its_score_alone_does_not_give():
    # Three families are equally good; the last alone shows the third class.
    rated = ratings(
        [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    )
    np.testing.assert_allclose(rated.scores, np.log(2))
    shares = rated.shares()
    assert shares["family2"] > 1.2 * shares["family0"]
    assert shares["family0"] == pytest.approx(shares["family1"])
    assert rated.shares(balance=0.0)["family2"] == pytest.approx(1 / 3)


def test_distance_and_unsure_predictions_cost_a_share():
    even = [[0.5, 0.5]] * 3
    shares = ratings(even, [0.0, 0.3, 0.0], [0.0, 0.0, 0.3]).shares()
    assert shares["family0"] / shares["family1"] == pytest.approx(np.e, rel=1e-3)
    assert shares["family1"] == pytest.approx(shares["family2"])
    assert sum(shares.values()) == pytest.approx(1.0)


def test_a_family_with_a_tiny_share_is_left_out_and_measured_on():
    rated = ratings([[0.5, 0.5]] * 3, [0.0, 2.0, 1.9], [0.0, 0.0, 0.0])
    shares = rated.shares()
    assert set(shares) == {"family0"}
    assert rated.left_out(shares) == {"family2": 1.0}
    everything = dict.fromkeys(map(str, rated.names), 1 / 3)
    assert rated.left_out(everything) == everything


def test_ratings_are_those_of_forward_passes():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    norm = model.layers[1]
    norm.moving_mean.assign([0.1, -0.2, 0.3, 0.0])
    norm.moving_variance.assign([0.5, 1.0, 2.0, 0.1])
    teacher = zskd.Teacher(model, (0.0, 2.0))
    rated = rate_families(teacher, count=512, seed=3)
    assert list(rated.names) == list(families_of((8, 8, 1)))
    pictures = 2 * ProceduralPictures((8, 8, 1), shares={"noise": 1}).keyed(3, range(512))
    place = list(rated.names).index("noise")
    predicted = keras.ops.softmax(model(pictures, training=False)).numpy()
    np.testing.assert_allclose(rated.mean_prediction[place], predicted.mean(0), rtol=1e-4)
    uncertainty = -(predicted * np.log(predicted)).sum(1).mean()
    assert rated.mean_entropy[place] == pytest.approx(uncertainty, rel=1e-4)
    seen = model.layers[0](pictures).numpy()
    mean, variance = seen.mean((0, 1, 2)), seen.var((0, 1, 2)) + 1e-3
    stored_mean, stored = np.array([0.1, -0.2, 0.3, 0.0]), np.array([0.5, 1.0, 2.0, 0.1]) + 1e-3
    divergence = 0.5 * (
        variance / stored + (mean - stored_mean) ** 2 / stored - 1 - np.log(variance / stored)
    )
    assert rated.distance[place] == pytest.approx(divergence.mean(), rel=1e-3)


def test_without_batch_normalization_the_distance_is_zero():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    rated = rate_families(zskd.Teacher(model, (0, 1)), count=64)
    np.testing.assert_array_equal(rated.distance, 0.0)
    assert list(rated.names) == ["correlated", "heavy", "uniform"]
