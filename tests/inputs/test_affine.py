import math

import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.inputs.affine import Affine, warp


def _affine(count=1, **values):
    arguments = {"angle": 0.0, "zoom": 1.0, "shift_y": 0.0, "shift_x": 0.0, **values}
    return Affine(**{name: tf.fill((count,), float(v)) for name, v in arguments.items()})


@pytest.fixture
def images(make_images):
    return make_images(3, (8, 8, 2))


def test_identity(images):
    np.testing.assert_allclose(warp(images, _affine(3)), images, atol=1e-6)


@pytest.mark.parametrize(("shift_y", "shift_x"), [(2, 0), (0, 3), (-1, -2)])
def test_shift_by_whole_pixels(images, shift_y, shift_x):
    # The output reads (y + shift, x + shift); the image is mirrored outside.
    moved = warp(images, _affine(3, shift_y=shift_y, shift_x=shift_x))
    mirrored = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), "symmetric")
    expected = mirrored[:, 4 + shift_y : 12 + shift_y, 4 + shift_x : 12 + shift_x]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotation_by_right_angles_is_about_the_center(images, quarters):
    turned = np.asarray(warp(images, _affine(3, angle=quarters * math.pi / 2)))
    matches = [
        k for k in range(4) if np.allclose(turned, np.rot90(images, k, axes=(1, 2)), atol=1e-4)
    ]
    assert matches in ([quarters], [4 - quarters])


def test_rotation_and_its_inverse(images):
    smooth = np.asarray(tf.image.resize(images[:, :2, :2], (8, 8)))
    there = warp(smooth, _affine(3, angle=0.3))
    back = np.asarray(warp(there, _affine(3, angle=-0.3)))
    np.testing.assert_allclose(back[:, 3:5, 3:5], smooth[:, 3:5, 3:5], atol=0.08)
    assert np.abs(np.asarray(there)[:, 3:5, 3:5] - smooth[:, 3:5, 3:5]).max() > 0.02


def test_zoom_scales_the_distance_from_the_center():
    # A ramp in x: value = distance from the center. Zoom 1/2 magnifies and halves the slope.
    ramp = np.tile((np.arange(9) - 4.0).reshape(1, 1, 9, 1), (1, 9, 1, 1)).astype("float32")
    zoomed = np.asarray(warp(ramp, _affine(zoom=0.5)))[0, 4, :, 0]
    np.testing.assert_allclose(zoomed, 0.5 * (np.arange(9) - 4.0), atol=1e-5)


def test_aspect_scales_only_the_horizontal_distance():
    x = np.tile((np.arange(9) - 4.0).reshape(1, 1, 9, 1), (1, 9, 1, 1)).astype("float32")
    y = x.transpose(0, 2, 1, 3)
    affine = _affine(aspect=0.5)
    expected = 0.5 * (np.arange(9) - 4.0)
    np.testing.assert_allclose(np.asarray(warp(x, affine))[0, 4, :, 0], expected, atol=1e-5)
    np.testing.assert_allclose(
        np.asarray(warp(y, affine))[0, :, 4, 0], np.arange(9) - 4.0, atol=1e-5
    )


def test_shear_tilts_one_axis():
    # Reads x - sin(shear) y and cos(shear) y: rows shift in proportion to their height.
    x = np.tile((np.arange(9) - 4.0).reshape(1, 1, 9, 1), (1, 9, 1, 1)).astype("float32")
    sheared = np.asarray(warp(x, _affine(shear=0.3)))[0, 2:7, 4, 0]
    np.testing.assert_allclose(sheared, -math.sin(0.3) * (np.arange(2, 7) - 4.0), atol=1e-5)


def test_each_image_has_its_own_map(images):
    affine = Affine(
        angle=tf.zeros(3),
        zoom=tf.ones(3),
        shift_y=tf.zeros(3),
        shift_x=tf.constant([0.0, 1.0, 2.0]),
    )
    moved = np.asarray(warp(images, affine))
    for i in range(3):
        np.testing.assert_allclose(moved[i, :, : 8 - i], images[i, :, i:], atol=1e-5)


def test_reflection_stays_in_the_range_of_the_image(images):
    turned = np.asarray(warp(images, _affine(3, angle=0.7, shift_x=2.5, zoom=1.3)))
    assert turned.min() >= images.min() - 1e-6
    assert turned.max() <= images.max() + 1e-6
    assert not np.any(turned == 0.0)


def test_images_that_are_not_square_keep_their_center():
    image = np.zeros((1, 5, 9, 1), "float32")
    image[0, 2, 4] = 1.0
    for angle in (0.0, 0.4, math.pi / 2):
        turned = np.asarray(warp(image, _affine(angle=angle)))
        assert turned[0, 2, 4, 0] == pytest.approx(1.0, abs=1e-4)


def test_runs_compiled_with_an_unknown_batch(images):
    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 2))])
    def shifted(images):
        count = tf.shape(images)[0]
        zeros = tf.zeros((count,))
        return warp(images, Affine(zeros, zeros + 1.0, zeros, zeros + 1.0))

    np.testing.assert_allclose(shifted(images)[:, :, :7], images[:, :, 1:], atol=1e-5)


def _by_tensorflow(images, affine):
    """The map as a matrix, resampled by the operation of TensorFlow."""
    height, width = images.shape[1:3]
    angle, zoom, shift_y, shift_x, aspect, shear = (np.asarray(v, "float64") for v in affine)
    a, b = zoom * aspect * np.cos(angle), -zoom * aspect * np.sin(angle + shear)
    d, e = zoom * np.sin(angle), zoom * np.cos(angle + shear)
    y, x = (height - 1) / 2, (width - 1) / 2
    c, f = x - a * x - b * y + shift_x, y - d * x - e * y + shift_y
    rows = np.stack([a, b, c, d, e, f, 0 * a, 0 * a], axis=-1).astype("float32")
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=rows,
        output_shape=(height, width),
        interpolation="BILINEAR",
        fill_mode="REFLECT",
        fill_value=0.0,
    )


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 9, 3), (1, 4, 2), (6, 1, 1)])
def test_matches_tensorflow(make_images, shape, compiled):
    # Shifts are large enough for several reflections.
    images = make_images(40, shape)
    rng = np.random.default_rng(1)
    limits = (3.0, 0.7, 30.0, 30.0, 0.5, 0.5)
    values = [rng.uniform(-limit, limit, 40).astype("float32") for limit in limits]
    values[1], values[4] = np.exp(values[1]), np.exp(values[4])
    affine = Affine(*(tf.constant(v) for v in values))
    expected = _by_tensorflow(images, affine)
    run = tf.function(warp) if compiled else warp
    resampled = run(images, affine)
    np.testing.assert_allclose(resampled, expected, atol=1e-4)
    assert np.abs(np.asarray(expected) - images).max() > 0.3


def test_identity_is_exact_when_compiled(images):
    run = tf.function(lambda images: warp(images, _affine(3)))
    np.testing.assert_array_equal(run(images), images)
