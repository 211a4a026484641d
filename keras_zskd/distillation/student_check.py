"""`check_student`: whether a student can learn from a teacher."""

from typing import Any

from keras_zskd.core.errors import InputError
from keras_zskd.models.classifier import check_classifier
from keras_zskd.models.logits import LogitsView, logits_view
from keras_zskd.models.teacher import Teacher


def check_student(teacher: Teacher, student: Any) -> LogitsView:
    """Check that a student can learn from a teacher, and return a view of it that ends in logits.

    Raises:
        InputError: If it is not a classifier, or its inputs or outputs do not match.
    """
    check_classifier(student, role="student")
    shape = tuple(student.inputs[0].shape[1:])
    if shape != teacher.input_shape:
        raise InputError(
            f"`student` must have inputs of shape {teacher.input_shape}, as the teacher. Received: "
            f"a student with inputs of shape {shape}. Put a Resizing or Reshape layer before it."
        )
    classes = max(2, student.outputs[0].shape[-1])  # A single output distinguishes two classes.
    if classes != teacher.num_classes:
        raise InputError(
            f"`student` must have {teacher.num_classes} outputs, as the teacher. Received: a "
            f"student with {classes} outputs. Change its last layer."
        )
    view = logits_view(student)
    if view.ends_in != "logits" and view.is_multi_label != teacher.is_multi_label:
        wanted = "any number of labels" if teacher.is_multi_label else "one class"
        raise InputError(
            f"`student` must predict {wanted}, as the teacher. Received: a student with {classes} "
            f"outputs that ends in {view.ends_in}. Change its last activation."
        )
    return view
