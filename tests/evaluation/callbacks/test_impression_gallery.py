import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.evaluation import callbacks
from keras_zskd.evaluation.callbacks import impression_gallery

LOGITS = np.eye(4) * 9.0


def test_steps_of_the_first_batch_then_every_batch(tmp_path, fake_generator, batch, summaries):
    generator = fake_generator([batch([0, 1, 2, 3], LOGITS, seed=seed) for seed in range(3)])
    gallery = callbacks.ImpressionGallery(tmp_path, count=2, columns=2)
    generator.run(gallery, checkpoints=4)
    found = summaries(tmp_path / "impressions")
    assert [step for step, _ in found["impressions/forming"]] == [1, 2, 3, 4]
    assert [step for step, _ in found["impressions/finished"]] == [0, 1, 2]
    picture = tf.io.decode_png(found["impressions/finished"][1][1]).numpy()
    # Two cells of 8x8 pixels enlarged 8 times, two lines of text, margins of 2.
    assert picture.shape == (64 + 28 + 4, 2 * 66 + 2, 3)
    image = np.round(255 * generator.batches[1]["image"][0, :, :, 0])
    np.testing.assert_array_equal(picture[2:66:8, 2:66:8, 0], image)


def test_labels_show_conditioning_class_and_prediction(
    tmp_path, fake_generator, batch, monkeypatch
):
    seen = []
    grid = impression_gallery.pictures.grid
    monkeypatch.setattr(
        impression_gallery.pictures,
        "grid",
        lambda images, labels, *rest: seen.append(labels) or grid(images, labels, *rest),
    )
    # softmax(log 3, 0) = (0.75, 0.25)
    generator = fake_generator([batch([0, 1], [[np.log(3.0), 0.0]] * 2)])
    generator.run(callbacks.ImpressionGallery(tmp_path, class_names=["cat", "dog"]), checkpoints=1)
    assert seen == [["cat\n0.75 cat", "dog\n0.75 cat"]] * 2


def test_pixels_are_scaled_from_the_range_of_the_teacher(
    tmp_path, fake_generator, batch, summaries
):
    made = batch([0, 1], np.eye(2))
    made["image"] = np.full((2, 8, 8, 1), 255.0, np.float32)
    made["image"][1] = 0.0
    fake_generator([made], input_range=(0.0, 255.0)).run(callbacks.ImpressionGallery(tmp_path))
    png = summaries(tmp_path / "impressions")["impressions/finished"][0][1]
    picture = tf.io.decode_png(png).numpy()
    assert picture[30, 30, 0] == 255
    assert picture[30, 100, 0] == 0


def test_nothing_is_written_before_the_first_summary(tmp_path):
    callbacks.ImpressionGallery(tmp_path / "logs").on_train_begin()
    assert not (tmp_path / "logs").exists()


def test_the_writer_is_closed_and_a_second_run_appends(tmp_path, fake_generator, batch, summaries):
    gallery = callbacks.ImpressionGallery(tmp_path)
    generator = fake_generator([batch([0, 1], np.eye(2))])
    generator.run(gallery, checkpoints=1)
    assert gallery._writer is None
    generator.run(gallery, checkpoints=1)
    found = summaries(tmp_path / "impressions")
    assert len(found["impressions/forming"]) == 2


def test_invalid_arguments_raise(tmp_path, fake_generator, batch, tiny_teacher):
    with pytest.raises(InputError, match="count=0"):
        callbacks.ImpressionGallery(tmp_path, count=0)
    generator = fake_generator([batch([0, 1], np.eye(2))])
    with pytest.raises(InputError, match=r"must hold 2 names.*Received: 3 names"):
        generator.run(callbacks.ImpressionGallery(tmp_path, class_names=["a", "b", "c"]))
    tiny_teacher.compile(loss="mse")
    with pytest.raises(InputError, match="Received: a Functional"):
        tiny_teacher.fit(
            np.zeros((2, 8, 8, 1)), np.zeros((2, 4)), verbose=0,
            callbacks=[callbacks.ImpressionGallery(tmp_path)],
        )  # fmt: skip
