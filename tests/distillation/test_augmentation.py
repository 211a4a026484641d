import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.distillation.augmentation import Augmentation, Mixup, Mosaic, RandomAffine
from keras_zskd.distillation.paper_augmentation import PaperAugmentation

RANGE, SEED = (0.0, 1.0), (3, 0)


class TestRandomAffine:
    def test_zero_changes_nothing(self, make_images):
        images = make_images(4)
        same = RandomAffine(rotation=0.0, zoom=0.0, translation=0.0)(
            tf.constant(images), RANGE, SEED
        )
        np.testing.assert_allclose(same, images, atol=1e-5)

    def test_probability_is_the_share_of_images(self, make_images):
        images = make_images(400)
        moved = RandomAffine(0.4, 0.2, 0.1, probability=0.3)(tf.constant(images), RANGE, SEED)
        share = np.mean(np.abs(moved.numpy() - images).max((1, 2, 3)) > 1e-3)
        assert abs(share - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / 400)

    def test_draws_differ_between_images_and_seeds(self, make_images):
        image = np.tile(make_images(1), (6, 1, 1, 1))
        augment = RandomAffine(0.4, 0.2, 0.1)
        first, second = (augment(tf.constant(image), RANGE, (3, i)).numpy() for i in range(2))
        assert len({row.tobytes() for row in [*first, *second]}) == 12

    def test_translation_is_bounded_by_its_fraction(self):
        # A ramp in x shows the shift. With 1/4 of 8 pixels it is at most 2, and exceeds 1.
        ramp = np.tile(np.arange(8.0).reshape(1, 1, 8, 1), (300, 8, 1, 1)).astype("float32")
        moved = (
            RandomAffine(0.0, 0.0, 0.25)(tf.constant(ramp), RANGE, SEED).numpy()[:, 4, 4, 0] - 4.0
        )
        assert np.abs(moved).max() <= 2.0 + 1e-4
        assert moved.max() > 1.5
        assert moved.min() < -1.5

    def test_zoom_is_bounded_in_both_directions(self):
        ramp = np.tile((np.arange(9.0) - 4).reshape(1, 9, 1, 1), (300, 1, 9, 1)).astype("float32")
        zoomed = RandomAffine(0.0, 0.5, 0.0)(tf.constant(ramp), RANGE, SEED).numpy()
        factor = zoomed[:, 5, 4, 0]
        assert factor.max() <= np.exp(0.5) + 1e-3
        assert factor.min() >= np.exp(-0.5) - 1e-3
        assert np.median(np.log(factor)) == pytest.approx(0.0, abs=0.1)

    def test_inputs_that_are_not_images_are_unchanged(self):
        values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        np.testing.assert_array_equal(RandomAffine()(values, RANGE, SEED), values)

    @pytest.mark.parametrize("name", ["rotation", "zoom", "translation"])
    def test_negative_limits_raise(self, name):
        with pytest.raises(InputError, match=f"`{name}` must be 0 or more. Received: {name}=-0.1"):
            RandomAffine(**{name: -0.1})

    @pytest.mark.parametrize("probability", [-0.1, 1.1])
    def test_invalid_probability_raises(self, probability):
        with pytest.raises(InputError, match=f"probability={probability}"):
            RandomAffine(probability=probability)


class TestMixup:
    def test_each_image_lies_between_itself_and_its_neighbor(self, make_images):
        images = make_images(400)
        mixed = Mixup(0.4)(tf.constant(images), RANGE, SEED).numpy()
        other = np.roll(images, 1, axis=0)
        factor = ((mixed - images) * (other - images)).sum((1, 2, 3))
        factor /= ((other - images) ** 2).sum((1, 2, 3))
        expected = images + factor[:, None, None, None] * (other - images)
        np.testing.assert_allclose(mixed, expected, atol=1e-5)
        is_mixed = factor > 1e-6
        assert abs(is_mixed.mean() - 0.4) < 4.5 * np.sqrt(0.4 * 0.6 / 400)
        # Uniform in [0, 1].
        factor = factor[is_mixed]
        assert factor.max() <= 1 + 1e-5
        assert abs(factor.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / len(factor))
        assert factor.var() == pytest.approx(1 / 12, rel=0.3)

    def test_zero_changes_nothing(self, make_images):
        images = make_images(5)
        np.testing.assert_array_equal(Mixup(0.0)(tf.constant(images), RANGE, SEED), images)

    def test_one_image_is_unchanged(self, make_images):
        images = make_images(1)
        np.testing.assert_allclose(Mixup(1.0)(tf.constant(images), RANGE, SEED), images, atol=1e-6)

    def test_vectors(self):
        values = np.random.default_rng(0).uniform(size=(6, 3)).astype("float32")
        mixed = Mixup(1.0)(tf.constant(values), RANGE, SEED).numpy()
        assert mixed.shape == (6, 3)
        assert not np.allclose(mixed, values)

    @pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
    def test_invalid_probability_raises(self, probability):
        with pytest.raises(InputError, match=r"must be in \[0, 1\]. Received: probability="):
            Mixup(probability)


class TestMosaic:
    @pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 5)])
    def test_four_neighbors_at_half_their_size(self, height, width):
        images = np.random.default_rng(0).uniform(size=(6, height, width, 2)).astype("float32")
        mosaic = Mosaic(1.0)(tf.constant(images), RANGE, SEED).numpy()
        top, left = -(-height // 2), -(-width // 2)
        for number, (y, x) in enumerate([(0, 0), (0, left), (top, 0), (top, left)]):
            source = np.roll(images, number, axis=0)
            for row in range(height // 2):
                for column in range(width // 2):
                    block = source[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                    np.testing.assert_allclose(
                        mosaic[:, y + row, x + column], block.mean((1, 2)), atol=1e-6
                    )

    def test_probability_is_the_share_of_images(self, make_images):
        images = make_images(400)
        mosaic = Mosaic(0.3)(tf.constant(images), RANGE, SEED).numpy()
        share = np.mean(np.abs(mosaic - images).max((1, 2, 3)) > 0)
        assert abs(share - 0.3) < 4.5 * np.sqrt(0.3 * 0.7 / 400)

    def test_inputs_that_are_not_images_are_unchanged(self):
        values = tf.constant([[1.0, 2.0], [3.0, 4.0]])
        np.testing.assert_array_equal(Mosaic(1.0)(values, RANGE, SEED), values)

    @pytest.mark.parametrize("probability", [-0.1, 1.1])
    def test_invalid_probability_raises(self, probability):
        with pytest.raises(InputError, match=f"probability={probability}"):
            Mosaic(probability)


@pytest.mark.parametrize("augment", [RandomAffine(0.1, 0.3, 0.05, 0.5), Mixup(0.25), Mosaic(0.25)])
def test_round_trip(augment):
    config = keras.saving.serialize_keras_object(augment)
    assert config["registered_name"] == f"keras_zskd>{type(augment).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(augment)
    assert again.get_config() == augment.get_config()
    assert vars(again) == vars(augment)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "augment", [RandomAffine(), RandomAffine(probability=0.5), Mixup(0.5), PaperAugmentation()]
)
class TestInAGraph:
    """With `jit_compile`, as in Keras steps on a GPU, and without, as on a CPU."""

    @staticmethod
    def _graph(augment, jit_compile):
        return tf.function(
            lambda images, seed: augment(images, RANGE, seed),
            input_signature=[tf.TensorSpec((None, 8, 8, 3)), tf.TensorSpec((2,), tf.int32)],
            jit_compile=jit_compile,
        )

    def test_any_batch_size(self, make_images, augment, jit_compile):
        # A replica may have no image at the end of an epoch.
        run = self._graph(augment, jit_compile)
        for count in (0, 1, 5):
            images = make_images(count, (8, 8, 3))
            shown = run(images, SEED).numpy()
            assert shown.shape == images.shape
            assert np.all((shown >= -1e-5) & (shown <= 1 + 1e-5))

    def test_draws_differ_between_seeds(self, make_images, augment, jit_compile):
        run, images = self._graph(augment, jit_compile), make_images(20, (8, 8, 3))
        first, second = run(images, (3, 0)).numpy(), run(images, (3, 1)).numpy()
        assert np.abs(first - second).max() > 0.01


@pytest.mark.parametrize("augment", [RandomAffine(), Mixup(0.5), PaperAugmentation()])
def test_draws_depend_on_the_seed_only(make_images, augment):
    images, shown = tf.constant(make_images(20)), []
    for number in range(2):
        keras.utils.set_random_seed(number)
        shown.append(tf.function(lambda: augment(images, RANGE, SEED))().numpy())
    np.testing.assert_array_equal(*shown)


def test_a_custom_augmentation_must_implement_call():
    with pytest.raises(NotImplementedError):
        Augmentation()(tf.zeros((1, 8, 8, 1)), RANGE, SEED)
