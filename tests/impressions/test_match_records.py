import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.activation_records import ActivationRecords
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.match_records import MatchRecords, spectral_modes
from keras_zskd.models.teacher import Teacher


@pytest.fixture
def teacher(make_teacher):
    return Teacher(make_teacher("logits"), (0, 1))


@pytest.fixture
def records(teacher, make_images):
    return ActivationRecords.measure(teacher, make_images(40), np.arange(40) % 4)


def activations_of(teacher, images):
    """Means of the maps, hidden units and logits, from a model of its own."""
    model = teacher.original
    outputs = [model.get_layer(name).output for name in ("conv", "hidden", "head")]
    conv, hidden, head = keras.Model(model.inputs[0], outputs)(images)
    return {"conv": conv.numpy().mean((1, 2)), "hidden": hidden.numpy(), "logits": head.numpy()}


class TestActivationRecords:
    def test_against_numpy(self, teacher, make_images):
        images, labels = make_images(600), np.arange(600) % 4
        records = ActivationRecords.measure(teacher, images, labels)
        expected = activations_of(teacher, images)
        assert [*records.means] == ["conv", "hidden", "logits"]
        assert records.nonnegative == {"conv": True, "hidden": True, "logits": False}
        assert records.counts.tolist() == [150] * 4
        for name, values in expected.items():
            for label in range(4):
                part = values[labels == label].astype("float64")
                np.testing.assert_allclose(records.means[name][label], part.mean(0), rtol=1e-4)
                found = records.covariances[name][label]
                np.testing.assert_allclose(found, np.cov(part.T, ddof=0), rtol=1e-3, atol=1e-5)
            mean, covariance = records.overall(name)
            np.testing.assert_allclose(mean, values.mean(0), rtol=1e-4)
            np.testing.assert_allclose(covariance, np.cov(values.T, ddof=0), rtol=1e-3, atol=1e-5)

    def test_a_file_is_read_for_its_teacher_only(self, teacher, records, make_teacher, tmp_path):
        path = tmp_path / "records.npz"
        records.save(path)
        again = ActivationRecords.load(path, teacher)
        assert again.digest == records.digest
        assert again.nonnegative == records.nonnegative
        with pytest.raises(InputError, match="of a teacher with other weights"):
            ActivationRecords.load(path, Teacher(make_teacher("logits", seed=1), (0, 1)))
        path.write_bytes(b"no records")
        with pytest.raises(InputError, match="`records` must be a file of activation records"):
            ActivationRecords.load(path, teacher)

    def test_a_class_without_examples_is_refused(self, teacher, make_images):
        with pytest.raises(InputError, match=r"\[3, 3, 2, 0\] examples"):
            ActivationRecords.measure(teacher, make_images(8), np.arange(8) % 3)


class TestMatchRecords:
    @pytest.mark.parametrize("layers", ["top", "all"])
    @pytest.mark.parametrize("rectified", [False, True])
    def test_the_loss_against_numpy(self, teacher, records, make_images, layers, rectified):
        objective = MatchRecords(records, layers, 8.0, rectified)
        images = make_images(6, seed=2)
        seen = activations_of(teacher, images)
        used = ["logits"] if layers == "top" else ["conv", "hidden", "logits"]
        taps = [teacher.tapped(tap)(images) for tap in objective.taps(teacher)]
        assert len(taps) == len(used) - 1
        widths = [seen[name].shape[-1] for name in used]
        drawn = np.random.default_rng(0).normal(0, 1, (6, sum(widths))).astype("float32")
        expected, first = 0.0, 0
        for name, width in zip(used, widths, strict=True):
            target, value = drawn[:, first : first + width], seen[name]
            if name == "logits" and rectified:
                value = np.maximum(value, 0)
            expected += ((target - value / 8.0) ** 2).sum(-1) / width
            first += width
        found = objective.total(tf.constant(seen["logits"]), None, taps, tf.constant(drawn))
        np.testing.assert_allclose(found, expected, rtol=1e-4)

    def test_drawn_activations_have_the_recorded_mean_and_covariance(self, teacher, records):
        objective = MatchRecords(records, "top", 2.0)
        drawn = 2.0 * objective.aim(teacher, 0, np.arange(8_000))[1::4]
        np.testing.assert_allclose(drawn.mean(0), records.means["logits"][1], atol=0.05)
        covariance = records.covariances["logits"][1]
        np.testing.assert_allclose(np.cov(drawn.T), covariance, atol=0.1 * covariance.max())
        targets, labels = objective.sample(teacher, 0, np.arange(8))
        assert labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
        powers = np.exp(objective.aim(teacher, 0, np.arange(8)))
        np.testing.assert_allclose(targets, powers / powers.sum(-1, keepdims=True), rtol=1e-4)
        part = objective.aim(teacher, 0, np.arange(3, 5))
        np.testing.assert_array_equal(part, objective.aim(teacher, 0, np.arange(8))[3:5])

    def test_spectral_coefficients(self, teacher, records, make_images):
        whole = MatchRecords(records, "spectral", share=1.0)
        plain = MatchRecords(records, "all")
        images = make_images(3, seed=2)
        taps = [teacher.tapped(tap)(images) for tap in plain.taps(teacher)]
        indices = np.arange(3)
        # All eigenvectors are a rotation, which keeps distances.
        found, expected = (
            o.total(teacher(images), None, taps, tf.constant(o.aim(teacher, 0, indices)))
            for o in (whole, plain)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4)
        # One of 4 channels, one of 6 hidden units, all 4 logits.
        assert MatchRecords(records, "spectral").aim(teacher, 0, indices).shape == (3, 6)

    def test_modes_of_a_graph_by_hand(self):
        # Two units that always agree, and one of its own: the Laplacian of the pair has the
        # eigenvectors (1, 1) and (1, -1), of which the second has no energy.
        covariance = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.5]])
        modes = spectral_modes(np.zeros(3), covariance, share=0.5)
        projection = modes @ modes.T
        expected = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
        np.testing.assert_allclose(projection, expected, atol=1e-12)

    def test_the_synthesis_approaches_the_records(self, teacher, records):
        engine = ImpressionGenerator(
            teacher, objective=MatchRecords(records), priors=[], transforms=[], steps=20
        ).engine
        first = engine.start(engine.draw(0, np.arange(16)))
        last = engine.advance(first, 20)
        before, after = (
            float(np.mean(engine.loss(state["z"], state["target"], aim=state["aim"])[0]))
            for state in (first, last)
        )
        assert after < 0.5 * before

    def test_rejects_unknown_layers(self, records):
        with pytest.raises(InputError, match="`layers` must be one of top, all, spectral"):
            MatchRecords(records, "bottom")
