"""Method `transfer_set`: which inputs are kept to balance the predicted classes."""

import numpy as np
import pytest

from keras_zskd import Teacher
from keras_zskd.methods.transfer_set import ArbitraryTransferSet, balanced
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run


@pytest.mark.parametrize(("sizes", "count", "expected"), [
    ((10, 10, 10), 12, (4, 4, 4)),
    ((2, 10, 10), 12, (2, 5, 5)),  # The unused share of a rare class is divided.
    ((2, 3, 10), 12, (2, 3, 7)),
    ((2, 3, 4), 100, (2, 3, 4)),
    ((10, 10, 10), 2, (0, 0, 0)),  # Fewer inputs than classes: no quota per class.
    ((10, 0, 5), 8, (4, 0, 4)),
])  # fmt: skip
def test_classes_are_balanced(sizes, count, expected):
    classes = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    kept = balanced(classes, count)
    np.testing.assert_array_equal(np.bincount(classes[kept], minlength=len(sizes)), expected)
    assert (np.diff(kept) > 0).all()


def test_noise_is_in_the_range_of_the_teacher(tiny_teacher, tmp_path):
    teacher = Teacher(tiny_teacher, (-1.0, 1.0))
    method = ArbitraryTransferSet(num_inputs=60, epochs=1, batch_size=8, balanced=False)
    assert method.missing(teacher, Resources()) is None
    with Run(teacher, 0.5, {"name": method.name}, tmp_path / "run", verbose=0) as run:
        found = method.train(run)
    images = found.inputs.images(40)
    assert -1.0 <= images.min() < -0.9 < 0.9 < images.max() <= 1.0
    assert not found.origin.uses_data


def test_images_of_a_dataset_are_required(tiny_teacher):
    missing = ArbitraryTransferSet(inputs="dataset").missing(
        Teacher(tiny_teacher, (0, 1)), Resources()
    )
    assert "images of another dataset" in missing
