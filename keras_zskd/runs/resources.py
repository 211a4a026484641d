"""What a user has in addition to the teacher."""

import dataclasses
import os

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.core.predictions import as_label_sets
from keras_zskd.core.workers import Cluster
from keras_zskd.impressions.activation_records import ActivationRecords
from keras_zskd.inputs import datasets
from keras_zskd.inputs.own_data import Data, fingerprint_of, name_of
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.labels import check_labels


@dataclasses.dataclass(frozen=True)
class Resources:
    """Data that a method may require (see `Need`), and machines to run on.

    Attributes:
        training_dataset: Labeled data, see `datasets.load`; its training split is used.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        records: File of activation records of the teacher, see `ActivationRecords`.
        cluster: Workers that make impressions. By default, this process makes them.
    """

    training_dataset: Data | None = None
    data_dir: str | None = None
    records: str | os.PathLike[str] | None = None
    cluster: Cluster | None = None

    @property
    def training_name(self) -> str | None:
        """Name of `training_dataset` for records."""
        return name_of(self.training_dataset)

    @property
    def training_fingerprint(self) -> str | None:
        """Checksum of `training_dataset` if it is arrays."""
        return fingerprint_of(self.training_dataset)

    def training_data(self, teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
        """Return images `(N, *input_shape)` of the training split, in range, and their labels.

        Labels are sets `(N, K)` for a multi-label teacher.

        Raises:
            InputError: If the data cannot be read, or its labels are not those of the teacher.
        """
        images, labels = self._training_split(teacher)
        check_labels("training_dataset", labels, teacher)
        if teacher.is_multi_label:
            labels = as_label_sets(labels, teacher.num_classes)
        return images, labels

    def unlabeled_images(self, teacher: Teacher) -> np.ndarray:
        """Return all images of the training split, of whatever classes."""
        return self._training_split(teacher)[0]

    def _training_split(self, teacher: Teacher) -> tuple[np.ndarray, np.ndarray]:
        return datasets.load(
            self.training_dataset,
            "train",
            teacher.input_shape,
            teacher.input_range,
            self.data_dir,
        )

    def activation_records(self, teacher: Teacher) -> ActivationRecords:
        """Read the activation records of the teacher.

        Raises:
            InputError: If none are given, or they are of another teacher.
        """
        if self.records is None:
            raise InputError(
                "`records` must be given for a method that needs activation records of the teacher. "
                "Received: records=None. Write them with keras_zskd.record, where the training data "
                "is."
            )
        return ActivationRecords.load(self.records, teacher)

    def images(self, count: int, teacher: Teacher, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return `count` images of the training split, balanced if possible, and their labels.

        Labels are class indices `(count,)`. For sets of labels, each is the first label of a set.
        """
        images, labels = self.training_data(teacher)
        if labels.ndim == 2:  # Balance sets of labels by their first label.
            labels = labels.argmax(axis=1)
        order = np.random.default_rng(seed).permutation(len(labels))
        # The rank of each example within its class: take one of every class, then a second one.
        ranks = np.empty(len(order), int)
        for label in np.unique(labels):
            members = np.flatnonzero(labels[order] == label)
            ranks[members] = np.arange(len(members))
        chosen = order[np.argsort(ranks, kind="stable")[:count]]
        return images[chosen], labels[chosen]
