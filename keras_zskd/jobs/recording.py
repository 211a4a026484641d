"""`record`: write the activation records of a teacher, for methods that need them."""

import os
import pathlib
from typing import Any

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.files import check_destination, replacing
from keras_zskd.impressions.activation_records import ActivationRecords
from keras_zskd.inputs.own_data import Data, name_of
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


def record(
    teacher: Teacher,
    training_dataset: Data,
    output: str | os.PathLike[str],
    data_dir: str | None = None,
) -> dict[str, Any]:
    """Record means and covariances of the teacher's activations per class, without any example.

    Args:
        teacher: The teacher.
        training_dataset: The labeled data it was trained on, of which the training split is read: a
            TFDS name, a folder with one subfolder of images per class, an .npz file, a pair of
            arrays, or a `tf.data.Dataset`.
        output: The `.npz` file to write.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.

    Returns:
        Layers, number of examples, and the file, as plain JSON types.

    Raises:
        InputError: If the teacher is multi-label, a class has no example, or the file has another
            ending.
    """
    if not str(output).endswith(".npz"):
        raise invalid("output", "end in .npz", str(output))
    check_destination("output", output)
    if teacher.is_multi_label:
        raise InputError(
            "`teacher` must be a single-label classifier for activation records, which are of one "
            f"class each. Received: teacher={teacher.name!r}, a multi-label classifier. Use a method "
            "that needs no records, such as 'best'."
        )
    images, labels = Resources(training_dataset, data_dir).training_data(teacher)
    records = ActivationRecords.measure(teacher, images, labels)
    with replacing(pathlib.Path(output)) as temporary:
        records.save(temporary)
    return {
        "layers": ", ".join(f"{name} ({len(mean[0])})" for name, mean in records.means.items()),
        "training_dataset": name_of(training_dataset),
        "examples": int(records.counts.sum()),
        "bytes": os.path.getsize(output),
        "output": str(output),
    }
