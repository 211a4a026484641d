import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.distillation import paper_augmentation
from keras_zskd.distillation.paper_augmentation import PaperAugmentation

COUNT = 4000


@pytest.fixture
def only(monkeypatch):
    """A function that leaves one kind of the 106 copies and applies it."""

    def apply(name, images, input_range=(0.0, 1.0)):
        monkeypatch.setattr(paper_augmentation, "_COUNTS", tuple(
            (kind, 1 if kind == name else 0) for kind, _ in paper_augmentation._COUNTS
        ))  # fmt: skip
        return PaperAugmentation()(tf.constant(images), input_range).numpy()

    return apply


def test_there_are_106_copies():
    counts = dict(paper_augmentation._COUNTS)
    assert sum(counts.values()) == 106
    # 3 zooms x 4 translations, 4 translations x 10 rotations, 3 zooms x 10 rotations.
    assert (counts["zoom_translate"], counts["translate_rotate"], counts["zoom_rotate"]) == (
        12,
        40,
        30,
    )


def test_the_original_is_one_of_106(make_images):
    image = np.tile(make_images(1), (COUNT, 1, 1, 1))
    augmented = PaperAugmentation()(tf.constant(image), (0.0, 1.0)).numpy()
    same = np.mean(np.abs(augmented - image).max((1, 2, 3)) < 1e-5)
    # The original, and the share of salt and pepper that touches no pixel of 64, (1 - 0.004)^64.
    expected = (1 + (1 - 0.004) ** 64) / 106
    assert abs(same - expected) < 4.5 * np.sqrt(expected / COUNT)


def test_original(only, make_images):
    images = make_images(5)
    np.testing.assert_allclose(only("original", images), images, atol=1e-6)


def test_zooms_in_by_three_factors(only):
    ramp = np.tile((np.arange(9.0) - 4).reshape(1, 1, 9, 1), (60, 9, 1, 1)).astype("float32")
    zoomed = only("zoom", ramp)[:, 4, 5, 0]
    np.testing.assert_allclose(np.unique(zoomed.round(3)), [0.6, 0.75, 0.9], atol=1e-3)


def test_translates_by_a_fifth_in_four_directions_with_white_behind(only):
    images = np.zeros((80, 10, 10, 1), "float32")
    moved = only("translate", images)
    kinds = {image.round(4).tobytes(): image[..., 0] for image in moved}
    assert len(kinds) == 4
    for image in kinds.values():
        assert image.sum() == pytest.approx(20.0)  # Two rows or columns of white.
    sides = {
        side
        for image in kinds.values()
        for side, strip in (
            ("top", image[:2]),
            ("bottom", image[-2:]),
            ("left", image[:, :2]),
            ("right", image[:, -2:]),
        )
        if strip.min() == 1.0
    }
    assert sides == {"top", "bottom", "left", "right"}


def test_ten_rotations_from_minus_90_to_90(only, make_images):
    image = np.tile(make_images(1), (400, 1, 1, 1))
    turned = only("rotate", image)
    kinds = {t.round(3).tobytes(): t for t in turned}
    assert len(kinds) == 10
    quarter = [np.rot90(image[0], k) for k in (1, 3)]
    for q in quarter:
        assert any(np.allclose(t, q, atol=1e-3) for t in kinds.values())


def test_three_flips(only, make_images):
    image = make_images(1)
    flipped = only("flip", np.tile(image, (90, 1, 1, 1)))
    kinds = {f.tobytes() for f in flipped}
    expected = (image[0, :, ::-1], image[0, ::-1], image[0].transpose(1, 0, 2))
    assert kinds == {np.ascontiguousarray(e).tobytes() for e in expected}


@pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 3.0)])
def test_salt_and_pepper(only, input_range):
    low, high = input_range
    gray = np.full((200, 20, 20, 1), 0.3, "float32")
    spotted = only("salt_and_pepper", gray, input_range)
    is_spot = spotted != np.float32(0.3)
    assert abs(is_spot.mean() - 0.004) < 4.5 * np.sqrt(0.004 / gray.size)
    spots = spotted[is_spot]
    assert set(np.unique(spots)) == {np.float32(low), np.float32(high)}
    share = 0.2 / 1.2
    assert abs((spots == high).mean() - share) < 4.5 * np.sqrt(share * (1 - share) / len(spots))


@pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 3.0)])
def test_gaussian_is_blended_three_to_one(only, input_range):
    low, high = input_range
    middle = (low + high) / 2
    gray = np.full((100, 20, 20, 1), middle, "float32")
    noise = (only("gaussian", gray, input_range) - 0.75 * middle) / 0.25
    assert noise.min() >= low - 1e-4
    assert noise.max() <= high + 1e-4
    # Normal noise of variance 0.1 (range 1) around the middle, clipped at 1.58 deviations.
    unit = (noise - middle) / (high - low)
    draws = np.clip(np.random.default_rng(0).normal(0, np.sqrt(0.1), 400_000), -0.5, 0.5)
    assert unit.mean() == pytest.approx(0.0, abs=0.01)
    assert unit.std() == pytest.approx(draws.std(), rel=0.03)


def test_every_noisy_image_has_noise_of_its_own():
    # White images stay white, whatever moves them before a white ground.
    white = tf.ones((COUNT, 8, 8, 1))
    augmented = PaperAugmentation()(white, (0.0, 1.0)).numpy()
    is_noisy = np.array([len(np.unique(image)) > 10 for image in augmented])
    # Gaussian noise with and without pepper.
    assert abs(is_noisy.mean() - 2 / 106) < 4.5 * np.sqrt(2 / 106 / COUNT)
    # Half of the pixels are clipped to white, so two images agree on about a quarter.
    noise = augmented[is_noisy].reshape(-1, 64)
    agreement = (noise[:, None] == noise[None]).mean(-1)
    assert agreement[~np.eye(len(noise), dtype=bool)].max() < 0.7


def test_pepper_and_gaussian(only):
    gray = np.full((100, 20, 20, 1), 0.5, "float32")
    spotted = only("pepper_gaussian", gray)
    assert abs((spotted == 0.0).mean() - 0.004) < 4.5 * np.sqrt(0.004 / gray.size)
    assert not np.any(spotted == 1.0)
    assert spotted.std() > 0.03


@pytest.mark.parametrize(
    ("name", "count"), [("zoom_translate", 12), ("translate_rotate", 40), ("zoom_rotate", 30)]
)
def test_products_reach_every_pair(only, make_images, name, count):
    image = np.tile(make_images(1), (1500, 1, 1, 1))
    kinds = {i.round(3).tobytes() for i in only(name, image)}
    assert len(kinds) == count


def test_stays_in_the_input_range_and_keeps_the_shape(make_images):
    images = 4 * make_images(300, (8, 8, 3)) - 1
    augmented = PaperAugmentation()(tf.constant(images), (-1.0, 3.0)).numpy()
    assert augmented.shape == images.shape
    assert augmented.min() >= -1 - 1e-5
    assert augmented.max() <= 3 + 1e-5


def test_round_trip():
    config = keras.saving.serialize_keras_object(PaperAugmentation())
    assert config["registered_name"] == "keras_zskd>PaperAugmentation"
    assert type(keras.saving.deserialize_keras_object(config)) is PaperAugmentation
