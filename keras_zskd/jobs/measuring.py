"""`measure`: compare a student with its teacher, on real data or on impressions."""

import keras

from keras_zskd.core.errors import InputError
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.distillation.student_check import check_student
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.inputs.own_data import Data
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.jobs.loading import load_test_data
from keras_zskd.models.graph import with_graph
from keras_zskd.models.teacher import Teacher, load_model


def measure(
    teacher: Teacher,
    student: str,
    dataset: Data | None = None,
    impressions: str | None = None,
    data_dir: str | None = None,
) -> dict[str, float]:
    """Measure a student against its teacher.

    Args:
        teacher: The teacher.
        student: File of the student, .keras, .h5 or .tflite.
        dataset: A TFDS name, a folder with one subfolder of images per class, an .npz file, a pair of
            arrays, or a `tf.data.Dataset`; its test split is used.
        impressions: Directory of a transfer set to use instead.
        data_dir: TFDS data directory. Defaults to TFDS_DATA_DIR.

    Returns:
        See `evaluate`.

    Raises:
        InputError: If not exactly one of `dataset` and `impressions` is given, or the student does
            not fit the teacher.
    """
    if (dataset is None) == (impressions is None):
        raise InputError(
            "Exactly one of `dataset` and `impressions` must be given. Received: "
            + ("both." if impressions else "neither.")
        )
    model = _student(student, teacher)
    if dataset is None:
        return evaluate(teacher, model, TransferSet(str(impressions)).arrays()["image"], None)
    return evaluate(teacher, model, *load_test_data(dataset, teacher, data_dir))


def _student(path: str, teacher: Teacher) -> LiteRTModel | keras.Model:
    if path.endswith(".tflite"):
        return LiteRTModel(path, is_multi_label=teacher.is_multi_label)
    model = load_model(path, teacher.safe_mode)
    model = with_graph(model) if model.built else model
    check_student(teacher, model)
    return model
