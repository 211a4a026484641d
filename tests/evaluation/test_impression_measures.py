import numpy as np
import pytest

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation.impression_measures import (
    effective_rank,
    measure_impressions,
    nearest_distances,
    shared_layout,
)


def test_measures_of_three_impressions_by_hand():
    impressions = {
        # The pixel range is 2. The first two differ by 0.02 everywhere, a hundredth of the range.
        "image": np.array([0.0, 0.02, 1.0]).reshape(3, 1, 1, 1) * np.ones((3, 4, 4, 1)),
        "target": np.array([[0.8, 0.2], [0.4, 0.6], [0.0, 1.0]]),
        "label": np.array([0, 0, 1]),
        # At temperature 2: (3/4, 1/4), (1/2, 1/2), (1/4, 3/4); at 1: 9/10, 1/2, 9/10.
        "logits": np.log([[9.0, 1.0], [1.0, 1.0], [1.0, 9.0]]),
        "gap": np.array([0.1, 0.2, 0.6]),
    }
    found = measure_impressions(impressions, (-1.0, 1.0), temperature=2.0)
    assert found["num_impressions"] == 3
    assert found["mean_gap"] == pytest.approx(0.3)
    assert found["mean_confidence"] == pytest.approx((0.9 + 0.5 + 0.9) / 3)
    peaked = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    np.testing.assert_allclose(found["entropy"], [peaked, np.log(2), peaked])
    assert found["mean_entropy"] == pytest.approx((2 * peaked + np.log(2)) / 3)
    assert found["predicted_as_label"] == 1.0
    assert found["predicted_as_target"] == pytest.approx(2 / 3)
    assert found["target_class"].tolist() == [0, 1, 1]
    np.testing.assert_allclose(found["target_share"], [0.8, 0.6, 1.0])
    np.testing.assert_allclose(found["predicted_share"], [0.75, 0.5, 0.75])
    assert found["counts"].tolist() == [[2, 0], [0, 1]]
    assert found["near_duplicates"] == pytest.approx(2 / 3)
    assert found["median_nearest_distance"] == pytest.approx(0.01, rel=1e-5)


def test_a_single_impression_has_no_neighbor():
    single = {
        "image": np.zeros((1, 8, 8, 1)), "target": np.eye(2)[:1], "label": np.zeros(1, int),
        "logits": np.eye(2)[:1], "gap": np.zeros(1),
    }  # fmt: skip
    found = measure_impressions(single)
    assert found["near_duplicates"] is None
    assert found["median_nearest_distance"] is None
    assert found["shared_layout"] is None


def test_large_images_are_compared_at_small_size():
    images = np.zeros((2, 64, 64, 1), np.float32)
    images[1] = 0.5
    np.testing.assert_allclose(nearest_distances(images, (0.0, 1.0)), [0.5, 0.5], rtol=1e-6)


def test_layout_distinguishes_pictures_from_noise():
    rng = np.random.default_rng(0)
    classes = np.arange(200) % 4
    noise = rng.uniform(size=(200, 8, 8, 1))
    assert shared_layout(noise, classes) < 0.4
    pictures = noise.copy()
    for k in range(4):
        pictures[classes == k, 2 * k : 2 * k + 2] += 1.0
    assert shared_layout(pictures, classes) == 1.0


def test_an_image_is_not_compared_with_itself():
    # Every image is a different pixel. Included in the mean, each would find its class.
    images = np.eye(12).reshape(12, 12, 1, 1)
    assert shared_layout(images, np.arange(12) % 2) == 0.0


def test_rare_classes_are_left_out():
    images = np.arange(8.0).reshape(8, 1, 1, 1)
    assert shared_layout(images, np.array([0, 0, 0, 0, 1, 1, 1, 2])) == 1.0
    assert shared_layout(images, np.array([0] * 7 + [1])) is None


def test_arrays_of_different_lengths_raise():
    arrays = {"image": np.zeros((2, 8, 8, 1)), "target": np.eye(2), "label": np.zeros(2, int),
              "logits": np.eye(2), "gap": np.zeros(3)}  # fmt: skip
    with pytest.raises(InputError, match="'gap': 3"):
        measure_impressions(arrays)


def test_the_effective_rank_counts_directions():
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    assert effective_rank(axes) == pytest.approx(3.0)
    assert effective_rank(axes @ np.diag([1.0, 1.0, 0.0]) + 7.0) == pytest.approx(2.0)
    assert effective_rank(np.ones((5, 2))) == 1.0
