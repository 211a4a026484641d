import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.distillation import paper_augmentation
from keras_zskd.distillation.paper_augmentation import PaperAugmentation

COUNT = 4000


@pytest.fixture
def only(monkeypatch):
    """A function that applies only one kind of the 106 copies."""

    def apply(name, images, input_range=(0.0, 1.0)):
        monkeypatch.setattr(paper_augmentation, "_COUNTS", tuple(
            (kind, 1 if kind == name else 0) for kind, _ in paper_augmentation._COUNTS
        ))  # fmt: skip
        return PaperAugmentation()(tf.constant(images), input_range, (3, 0)).numpy()

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
    augmented = PaperAugmentation()(tf.constant(image), (0.0, 1.0), (3, 0)).numpy()
    same = np.mean(np.abs(augmented - image).max((1, 2, 3)) < 1e-5)
    assert abs(same - 1 / 106) < 4.5 * np.sqrt(1 / 106 / COUNT)


def test_original(only, make_images):
    images = make_images(5)
    np.testing.assert_allclose(only("original", images), images, atol=1e-6)


def test_three_zooms(only):
    ramp = np.tile((np.arange(9.0) - 4).reshape(1, 1, 9, 1), (60, 9, 1, 1)).astype("float32")
    zoomed = only("zoom", ramp)[:, 4, 5, 0]
    np.testing.assert_allclose(np.unique(zoomed.round(3)), [0.6, 0.75, 0.9], atol=1e-3)


def test_zooms_equal_central_crops_resized_by_tensorflow(only, make_images):
    image = make_images(1, (8, 8, 3))
    boxes = [[(1 - z) / 2, (1 - z) / 2, (1 + z) / 2, (1 + z) / 2] for z in (0.9, 0.75, 0.6)]
    expected = tf.image.crop_and_resize(image, boxes, [0, 0, 0], (8, 8)).numpy()
    for zoomed in only("zoom", np.tile(image, (60, 1, 1, 1))):
        assert np.abs(zoomed - expected).max((1, 2, 3)).min() < 1e-5


def test_translations_by_a_fifth_in_four_directions_filled_with_white(only):
    images = np.zeros((80, 12, 12, 1), "float32")  # A fifth is 2.4 pixels, rounded down.
    moved = only("translate", images)
    kinds = {image.round(4).tobytes(): image[..., 0] for image in moved}
    assert len(kinds) == 4
    for image in kinds.values():
        assert image.sum() == pytest.approx(24.0)  # Two rows or columns of white.
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


def _turned(images, degrees):
    """Rotate with the operation of TensorFlow: nearest neighbor, filled with black."""
    angle, center = np.radians(degrees), (images.shape[1] - 1) / 2
    cos, sin = np.cos(angle), np.sin(angle)
    row = [cos, -sin, center - center * (cos - sin), sin, cos, center - center * (sin + cos), 0, 0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=np.array([row], "float32"),
        output_shape=images.shape[1:3],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=0.0,
    ).numpy()


def test_ten_nearest_neighbor_rotations_from_minus_90_to_90(only, make_images):
    image = 0.5 + 0.5 * make_images(1, (32, 32, 1))
    kinds = {t.tobytes(): t for t in only("rotate", np.tile(image, (400, 1, 1, 1)))}
    assert len(kinds) == 10
    expected = np.concatenate([_turned(image, -90 + 20 * i) for i in range(10)])
    for turned in kinds.values():
        # Rounding may differ for positions between two pixels.
        assert np.mean(np.abs(turned - expected).max(-1) > 1e-6, (1, 2)).min() < 0.005
        assert np.any(turned == 0.0) == (turned.tobytes() not in [
            np.ascontiguousarray(np.rot90(image[0], k)).tobytes() for k in (1, 3)
        ])  # fmt: skip


def test_a_translation_with_rotation_is_filled_with_white_and_black(only):
    gray = np.full((200, 32, 32, 1), 0.5, "float32")
    for image in only("translate_rotate", gray):
        assert set(np.unique(image)) <= {np.float32(v) for v in (0.0, 0.5, 1.0)}
        white = np.sum(image == 1.0) / (6 * 32)
        assert 0.5 < white < 1.05


def test_three_flips(only, make_images):
    image = make_images(1)
    flipped = only("flip", np.tile(image, (90, 1, 1, 1)))
    kinds = {f.tobytes() for f in flipped}
    expected = (image[0, :, ::-1], image[0, ::-1], image[0].transpose(1, 0, 2))
    assert kinds == {np.ascontiguousarray(e).tobytes() for e in expected}


def test_images_that_are_not_square_are_not_transposed(only, make_images):
    image = make_images(1, (8, 12, 1))
    kinds = {f.tobytes() for f in only("flip", np.tile(image, (90, 1, 1, 1)))}
    expected = (image[0, :, ::-1], image[0, ::-1], image[0])
    assert kinds == {np.ascontiguousarray(e).tobytes() for e in expected}


def test_inputs_that_are_not_images_do_not_change():
    rows = np.random.default_rng(0).uniform(size=(6, 5)).astype("float32")
    np.testing.assert_array_equal(PaperAugmentation()(rows, (0.0, 1.0), (3, 0)), rows)


# NumPy generator of the released code at seed 777: `randint(0, 31, n)` for rows, then columns, of
# one and of four spots, and the first three values of `uniform`.
SALT_777 = [(7, 15)]
PEPPER_777 = [(6, 29), (7, 23), (15, 17), (27, 7)]
UNIFORM_777 = (0.15266373, 0.30235661, 0.06203641)


@pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 3.0)])
def test_salt_and_pepper_is_the_same_for_all_images(only, input_range):
    low, high = input_range
    spotted = only("salt_and_pepper", np.full((50, 32, 32, 1), 0.3, "float32"), input_range)
    np.testing.assert_array_equal(spotted, np.tile(spotted[:1], (50, 1, 1, 1)))
    # 0.004 x 32 x 32 spots, a fifth of them salt and the rest pepper, both rounded up.
    places = {value: np.argwhere(spotted[0, ..., 0] == value).tolist() for value in (high, low)}
    assert places == {high: [list(p) for p in SALT_777], low: [list(p) for p in PEPPER_777]}
    assert np.mean(spotted[0] == np.float32(0.3)) == 1 - 5 / 1024


@pytest.mark.parametrize("input_range", [(0.0, 1.0), (-1.0, 3.0)])
def test_gaussian_is_three_quarters_and_a_sixteenth_of_uniform_noise(only, input_range):
    low, high = input_range
    noisy = only("gaussian", np.full((5, 20, 20, 3), 0.5 * (low + high), "float32"), input_range)
    unit = (noisy - low) / (high - low)
    np.testing.assert_array_equal(unit, np.tile(unit[:1, :, :, :1], (5, 1, 1, 3)))
    expected = 0.75 * 0.5 + 0.0625 * np.array(UNIFORM_777)
    np.testing.assert_allclose(unit[0, 0, :3, 0], expected, atol=1e-6)


def test_pepper_and_gaussian_is_noise_on_spots(only):
    gray = np.full((1, 32, 32, 1), 0.5, "float32")
    both, noise = only("pepper_gaussian", gray), only("gaussian", gray)
    spotted = only("salt_and_pepper", gray)
    np.testing.assert_allclose(both, noise + 0.75 * (spotted - gray), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "count"), [("zoom_translate", 12), ("translate_rotate", 40), ("zoom_rotate", 30)]
)
def test_products_reach_every_pair(only, make_images, name, count):
    image = np.tile(make_images(1, (16, 16, 1)), (1500, 1, 1, 1))
    kinds = {i.round(3).tobytes() for i in only(name, image)}
    assert len(kinds) == count


def test_input_range_and_shape_are_preserved(make_images):
    images = 4 * make_images(300, (8, 8, 3)) - 1
    augmented = PaperAugmentation()(tf.constant(images), (-1.0, 3.0), (3, 0)).numpy()
    assert augmented.shape == images.shape
    assert augmented.min() >= -1 - 1e-5
    assert augmented.max() <= 3 + 1e-5


def test_round_trip():
    config = keras.saving.serialize_keras_object(PaperAugmentation())
    assert config["registered_name"] == "keras_zskd>PaperAugmentation"
    assert type(keras.saving.deserialize_keras_object(config)) is PaperAugmentation
