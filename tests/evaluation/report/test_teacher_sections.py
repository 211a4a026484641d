import numpy as np

from keras_zskd.evaluation.report.teacher_sections import similarity_sections
from keras_zskd.models.class_templates import class_similarity
from keras_zskd.models.teacher import Teacher


def test_the_class_similarity_is_shown(make_teacher):
    teacher = Teacher(make_teacher("logits"), (0, 1))
    (section,) = similarity_sections(teacher, ["cat", "<dog>", "cow", "owl"])
    assert section.title == "Class similarity"
    assert "cat" in section.body
    assert "&lt;dog&gt;" in section.body
    value = class_similarity(teacher.templates)[0, 1]
    assert f"{value:z.2f}" in section.body.replace("\u2212", "-")
    assert np.isfinite(value)


def test_a_teacher_without_templates_has_no_section(make_teacher):
    import keras

    pixels = keras.Input((4, 4, 3))
    scores = keras.layers.GlobalAveragePooling2D()(pixels)
    assert similarity_sections(Teacher(keras.Model(pixels, scores), (0, 1))) == []
