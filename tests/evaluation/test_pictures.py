import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import pictures


def test_pixels_span_the_input_range():
    images = np.array([-1.0, 0.0, 1.0, 5.0, np.nan, -7.0]).reshape(1, 2, 3, 1)
    pixels = pictures.to_pixels(images, (-1.0, 1.0))
    np.testing.assert_array_equal(pixels[0, :, :, 0].ravel(), [0, 128, 255, 255, 0, 0])
    assert pixels.shape == (1, 2, 3, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((2, 4, 5), (2, 4, 5, 3)),
        ((2, 4, 5, 3), (2, 4, 5, 3)),
        ((2, 4, 5, 2), (2, 4, 5, 3)),
        ((2, 7), (2, 3, 3, 3)),
        ((2, 2, 2, 2, 2), (2, 4, 4, 3)),
    ],
)
def test_inputs_of_every_shape_are_shown(shape, shown):
    assert pictures.to_pixels(np.ones(shape)).shape == shown


def test_colors_are_kept_and_other_channels_are_averaged():
    colors = np.zeros((1, 1, 1, 3))
    colors[..., 1] = 1.0
    assert pictures.to_pixels(colors)[0, 0, 0].tolist() == [0, 255, 0]
    two = np.array([0.0, 1.0]).reshape(1, 1, 1, 2)
    assert pictures.to_pixels(two)[0, 0, 0].tolist() == [128, 128, 128]


def test_grid_has_every_image_at_its_position():
    images = np.linspace(0.1, 0.9, 5).reshape(5, 1, 1, 1) * np.ones((5, 4, 4, 1))
    grid = pictures.grid(images, columns=3, cell=8)
    assert grid.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    centers = [grid[6 + 10 * (i // 3), 6 + 10 * (i % 3), 0] for i in range(6)]
    assert centers == [26, 76, 128, 178, 230, 255]  # The sixth cell is empty and therefore white.


def test_labels_are_below_their_image_and_inside_their_cell():
    images = np.ones((2, 8, 8, 1))
    plain = pictures.grid(images, labels=["", ""], columns=2)
    grid = pictures.grid(images, labels=["a very long name that cannot fit", ""], columns=2)
    changed = np.argwhere((grid != plain).any(axis=-1))
    assert len(changed) > 50
    assert changed[:, 0].min() >= 66
    assert changed[:, 1].max() < 66
    two_lines = pictures.grid(images, labels=["a\nb", "c"], columns=2)
    assert two_lines.shape[0] == plain.shape[0] + 14


def test_large_images_are_reduced_and_keep_their_mean():
    images = np.random.default_rng(0).uniform(size=(1, 96, 192, 3))
    pixels = pictures.to_pixels(images)
    small = pictures.resize(pixels, 64)
    assert small.shape == (1, 32, 64, 3)
    assert abs(small.mean() - pixels.mean()) < 1.0


def test_overlay_equals_the_image_where_the_map_is_zero():
    images = np.full((1, 1, 2, 1), 0.5)
    both = pictures.overlay(images, np.array([[[0.0, 1.0]]]), strength=0.5)
    assert both[0, 0, 0].tolist() == [128, 128, 128]
    assert both[0, 0, 1].tolist() == [192, 112, 64]  # Halfway to (255, 96, 0).


def test_heat_goes_from_light_to_dark():
    heat = pictures.heat([[0.0, 1.0, 2.0]])
    assert heat[0, 0].tolist() == [247, 251, 255]
    assert heat[0, 2].tolist() == [8, 48, 107]
    assert pictures.heat(np.zeros((1, 1))).tolist() == [[[247, 251, 255]]]


def test_png_round_trip():
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = pictures.png_bytes(picture)
    assert data.startswith(b"\x89PNG")
    np.testing.assert_array_equal(tf.io.decode_png(data), picture)
    np.testing.assert_array_equal(tf.io.decode_png(pictures.png_bytes(picture[..., 0]))[..., 0],
                                  picture[..., 0])  # fmt: skip


def test_invalid_arguments_raise():
    images = np.zeros((2, 8, 8, 1))
    with pytest.raises(InputError, match="3 labels for 2 images"):
        pictures.grid(images, labels=[1, 2, 3])
    with pytest.raises(InputError, match="columns=0"):
        pictures.grid(images, columns=0)
    with pytest.raises(InputError, match="low < high"):
        pictures.grid(images, input_range=(1.0, 1.0))
    with pytest.raises(InputError, match="at least one image"):
        pictures.grid(images[:0])
    with pytest.raises(InputError, match="one value per pixel"):
        pictures.overlay(images, np.zeros((2, 4, 4)))
    with pytest.raises(InputError, match="uint8"):
        pictures.png_bytes(np.zeros((4, 4, 3)))
