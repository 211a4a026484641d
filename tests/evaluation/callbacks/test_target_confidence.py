import numpy as np
import tensorflow as tf

from keras_zskd.evaluation import callbacks
from keras_zskd.evaluation.callbacks.target_confidence import confidences


def test_confidence_is_at_the_temperature_of_the_synthesis():
    # The target's largest class is 1; softmax((0, 2 log 3) / 2) = (0.25, 0.75).
    asked, achieved = confidences(
        np.array([[0.4, 0.6]], np.float32), np.array([[0.0, 2.0 * np.log(3.0)]]), temperature=2.0
    )
    np.testing.assert_allclose(asked, [0.6], rtol=1e-6)
    np.testing.assert_allclose(achieved, [0.75], rtol=1e-6)


def test_summaries_of_every_batch(tmp_path, fake_generator, batch, summaries):
    made = batch([0, 1], [[2.0 * np.log(3.0), 0.0], [0.0, 2.0 * np.log(3.0)]])
    fake_generator([made, made], temperature=2.0).run(callbacks.TargetConfidence(tmp_path))
    found = summaries(tmp_path / "target_confidence")
    scalars = {
        tag: [(step, float(value)) for step, value in values]
        for tag, values in found.items()
        if getattr(values[0][1], "shape", None) == ()
    }
    assert scalars == {
        "confidence/mean_error": [(0, 0.25), (1, 0.25)],
        "synthesis/cross_entropy": [(0, 0.75), (1, 0.75)],
        "synthesis/gap": [(0, 0.25), (1, 0.25)],
        "synthesis/confidence": [(0, 0.5), (1, 0.5)],
    }
    assert {"confidence/target", "confidence/achieved", "synthesis/gap_of_each"} < set(found)
    buckets = found["confidence/achieved"][0][1]  # left, right, count
    assert buckets[:, 2].sum() == 2
    np.testing.assert_allclose(buckets[buckets[:, 2] > 0][:, :2], 0.75, rtol=1e-6)


def test_the_image_is_darkest_where_the_impressions_are(tmp_path, fake_generator, batch, summaries):
    # Target 1.0 and achieved 0.75 for all: right column, three quarters up.
    made = batch([0] * 5, [[2.0 * np.log(3.0), 0.0]] * 5)
    fake_generator([made], temperature=2.0).run(callbacks.TargetConfidence(tmp_path))
    png = summaries(tmp_path / "target_confidence")["confidence/achieved_by_target"][0][1]
    picture = tf.io.decode_png(png).numpy().astype(int)
    y, x = np.argwhere((picture == [8, 48, 107]).all(axis=-1)).mean(axis=0)
    assert 32 + 300 - 12 <= x <= 32 + 300
    assert abs(20 + 300 * 0.25 - y) < 12
