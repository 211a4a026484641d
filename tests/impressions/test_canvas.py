import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.canvas import BlobCanvas, UniformCanvas

SHAPE = (8, 8, 2)


def _start(canvas, indices, shape=SHAPE, seed=0, **compiling):
    form = tf.function(lambda draws: canvas.form(draws, shape), **compiling)
    return np.asarray(form(canvas.draw(seed, list(indices), shape)))


CANVASES = {
    "uniform": lambda: UniformCanvas("clip"),
    "blob": lambda: BlobCanvas(scales=(1, 2, 4), contrast=(1.0, 3.0), offset=0.5),
    "one_scale": lambda: BlobCanvas(scales=(2,), contrast=(2.0, 2.0), offset=0.0),
}


@pytest.mark.parametrize("kind", CANVASES)
@pytest.mark.parametrize("shape", [SHAPE, (5,), (7, 9, 1)])
class TestEveryCanvas:
    def test_initial_shape(self, kind, shape):
        canvas = CANVASES[kind]()
        z = _start(canvas, range(5), shape)
        assert z.shape == (5, *shape)
        assert np.all(np.isfinite(z))
        pixels = np.asarray(canvas.show(tf.constant(z)))
        assert pixels.min() >= 0
        assert pixels.max() <= 1
        assert len(np.unique(z.reshape(5, -1)[:, 0])) == 5  # All different.

    def test_an_impression_does_not_depend_on_the_others(self, kind, shape):
        canvas = CANVASES[kind]()
        whole = _start(canvas, range(6), shape)
        np.testing.assert_allclose(
            _start(canvas, [5, 1], shape), whole[[5, 1]], rtol=1e-5, atol=1e-5
        )
        assert not np.allclose(_start(canvas, range(6), shape, seed=1), whole, atol=0.1)

    def test_compiled_start_equals_eager_start(self, kind, shape):
        canvas = CANVASES[kind]()
        eager = np.asarray(canvas.form(canvas.draw(0, range(3), shape), shape))
        compiled = _start(canvas, range(3), shape, jit_compile=True)
        np.testing.assert_allclose(compiled, eager, rtol=1e-4, atol=1e-4)

    def test_draws_have_one_row_per_impression(self, kind, shape):
        canvas = CANVASES[kind]()
        whole = keras.tree.flatten(canvas.draw(3, [4, 7, 1], shape))
        part = keras.tree.flatten(canvas.draw(3, np.array([1]), shape))
        for rows, row in zip(whole, part, strict=True):
            assert type(rows) is np.ndarray
            assert rows.dtype == np.float32
            assert len(rows) == 3
            np.testing.assert_array_equal(rows[2:], row)

    def test_pixels_have_a_gradient(self, kind, shape):
        canvas = CANVASES[kind]()
        z = tf.constant(_start(canvas, range(2), shape))
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = tf.reduce_sum(canvas.show(z))
        gradient = np.asarray(tape.gradient(loss, z))
        assert np.all(np.isfinite(gradient))
        # Above about 16 the sigmoid of float32 is 1, as far out in a light background.
        assert np.all(gradient[z < 16] > 0)
        assert np.all(gradient >= 0)
        assert np.mean(z < 16) > 0.5


class TestUniformCanvas:
    def test_initial_pixels_are_uniform(self):
        z = _start(UniformCanvas("none"), range(100))
        assert abs(z.mean() - 0.5) < 4 * np.sqrt(1 / 12 / z.size)
        assert abs(z.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / z.size)
        assert z.min() >= 0
        assert z.max() < 1

    def test_clip(self):
        z = tf.constant([-0.5, 0.25, 1.5])
        np.testing.assert_array_equal(UniformCanvas("clip").constrain(z), [0.0, 0.25, 1.0])

    def test_rescale_uses_the_range_of_each_impression(self):
        z = np.random.default_rng(0).normal(0, 3, (4, *SHAPE)).astype("float32")
        z[2] *= 100
        low = z.min((1, 2, 3), keepdims=True)
        high = z.max((1, 2, 3), keepdims=True)
        scaled = UniformCanvas("rescale").constrain(tf.constant(z))
        np.testing.assert_allclose(scaled, (z - low) / (high - low), rtol=1e-5, atol=1e-6)

    def test_rescale_of_a_flat_impression_is_finite(self):
        flat = tf.ones((1, *SHAPE))
        assert np.all(np.isfinite(UniformCanvas("rescale").constrain(flat)))

    def test_none_does_not_constrain_the_pixels(self):
        z = tf.constant([-0.5, 1.5])
        np.testing.assert_array_equal(UniformCanvas("none").constrain(z), z)

    def test_unknown_constraint_raises(self):
        with pytest.raises(InputError, match=r"'rescale', 'clip' or 'none'.*constraint='squash'"):
            UniformCanvas("squash")


class TestBlobCanvas:
    def test_pixels_are_the_sigmoid(self):
        z = np.array([-30.0, -1.0, 0.0, 2.0], "float32")
        shown = BlobCanvas(scales=(1, 2)).show(tf.constant(z))
        np.testing.assert_allclose(shown, 1 / (1 + np.exp(-z)), rtol=1e-5)

    def test_coarse_noise_is_smoother_than_fine_noise(self):
        def roughness(scale):
            canvas = BlobCanvas(scales=(scale,), contrast=(2.0, 2.0), offset=0.0, ground=0.0)
            z = _start(canvas, range(50), (16, 16, 1))
            return np.abs(z[:, :, 1:] - z[:, :, :-1]).mean() / z.std()

        assert roughness(8) < 0.5 * roughness(2)
        assert roughness(2) < 0.8 * roughness(1)

    def test_contrast_scales_the_noise_of_vectors(self):
        # Plain normal noise times the contrast: standard deviation 3.
        z = _start(BlobCanvas(contrast=(3.0, 3.0), offset=0.0), range(200), (50,))
        assert z.std() == pytest.approx(3.0, rel=0.05)
        assert z.mean() == pytest.approx(0.0, abs=0.15)

    def test_contrast_is_within_its_range(self):
        z = _start(BlobCanvas(contrast=(1.0, 4.0)), range(200), (400,))
        deviations = z.std(axis=1)
        assert deviations.min() > 0.8
        assert deviations.max() < 4.6
        assert deviations.mean() == pytest.approx(2.5, abs=0.3)

    @pytest.mark.parametrize(("light", "sign"), [(0.0, -1), (1.0, 1)])
    def test_fades_into_the_background_at_the_corners(self, light, sign):
        same = {"scales": (2,), "contrast": (1.0, 1.0), "offset": 0.0, "light": light}
        bare = _start(BlobCanvas(**same, ground=0.0), range(40), (16, 16, 1))
        faded = _start(BlobCanvas(**same, ground=8.0), range(40), (16, 16, 1))
        corner, middle = (faded - bare)[:, 0, 0, 0], (faded - bare)[:, 8, 8, 0]
        assert np.all(sign * corner >= 0)
        assert sign * corner.mean() > 2.0
        assert sign * corner.mean() > sign * middle.mean() + 2.0

    @pytest.mark.parametrize(
        "arguments",
        [
            {"scales": ()},
            {"scales": (0,)},
            {"contrast": (1.0,)},
            {"light": -0.1},
            {"light": 1.1},
            {"ground": -1.0},
        ],
    )
    def test_invalid_arguments_raise(self, arguments):
        (name,) = arguments
        with pytest.raises(InputError, match=name):
            BlobCanvas(**arguments)


@pytest.mark.parametrize("kind", CANVASES)
def test_round_trip(kind):
    canvas = CANVASES[kind]()
    config = keras.saving.serialize_keras_object(canvas)
    assert config["registered_name"] == f"keras_zskd>{type(canvas).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(canvas)
    assert again.get_config() == canvas.get_config()
    np.testing.assert_array_equal(_start(again, range(2)), _start(canvas, range(2)))
