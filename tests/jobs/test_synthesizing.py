"""`synthesize`: the needs of a method are checked first."""

import pytest

from keras_zskd import InputError, Teacher
from keras_zskd.jobs.synthesizing import synthesize


@pytest.mark.parametrize(
    ("method", "is_multi_label", "said"),
    [
        ("deepinversion", False, "must have batch normalization layers"),
        ("lopes", False, "`records` must be given"),
        ("class_impressions", True, "must be a single-label classifier"),
    ],
)
def test_methods_that_cannot_be_used_are_rejected(
    tiny_teacher, multi_label_teacher, tmp_path, method, is_multi_label, said
):
    teacher = Teacher(multi_label_teacher if is_multi_label else tiny_teacher, (0, 1))
    with pytest.raises(InputError, match=f"Method '{method}' cannot be used here.*{said}"):
        synthesize(teacher, str(tmp_path / "impressions"), method)
    assert not (tmp_path / "impressions").exists()
