"""`ActivationRecords`: means and covariances of a teacher's activations, per class."""

import dataclasses
import hashlib
import os
import zipfile
from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import InputError
from keras_zskd.models.activations import hidden_activations, per_channel
from keras_zskd.models.graph import fingerprint
from keras_zskd.models.teacher import Teacher

TOP = "logits"
_BATCH = 512
# Hidden layers whose covariances have more values over all classes are left out.
_MOST_VALUES = 2**26


@dataclasses.dataclass(frozen=True)
class ActivationRecords:
    """Statistics of the training data (Lopes, Fenu, Starner, 2017), without any example.

    They are the mean and covariance of the logits and of each layer with a kernel, over the
    training examples of each class. A feature map is first averaged over its positions (our
    reading: the covariances of all positions would be larger than the training data).

    Attributes:
        teacher: Fingerprint of the teacher.
        counts: Number of examples of each class, `(K,)`.
        means: By layer, `(K, D)` float32; the last one is "logits".
        covariances: By layer, `(K, D, D)` float32.
        nonnegative: By layer, whether no activation was negative, as after ReLU.
    """

    teacher: str
    counts: np.ndarray
    means: dict[str, np.ndarray]
    covariances: dict[str, np.ndarray]
    nonnegative: dict[str, bool]

    @classmethod
    def measure(
        cls, teacher: Teacher, images: np.ndarray, labels: np.ndarray
    ) -> "ActivationRecords":
        """Record the activations of labeled examples.

        Args:
            teacher: The teacher.
            images: `(N, *input_shape)` in the teacher's range.
            labels: Classes `(N,)`, each class at least once.

        Raises:
            InputError: If a class has no example, or the covariances of the logits are too large.
        """
        counts = np.bincount(labels, minlength=teacher.num_classes)
        if len(counts) > teacher.num_classes or not counts.all():
            raise InputError(
                f"`labels` must be of each of the {teacher.num_classes} classes of the teacher. "
                f"Received: {counts.tolist()} examples of the classes."
            )
        if teacher.num_classes**3 > _MOST_VALUES:
            raise InputError(
                f"`teacher` must have at most {int(_MOST_VALUES ** (1 / 3))} classes, so that "
                f"covariances fit into memory. Received: {teacher.num_classes} classes."
            )
        tensors = {
            name: tensor
            for name, tensor in hidden_activations(teacher.model).items()
            if teacher.num_classes * tensor.shape[-1] ** 2 <= _MOST_VALUES
        }
        tensors[TOP] = teacher.model.outputs[0]
        model = teacher.tapped([*tensors.values()])
        read = tf.function(
            lambda x: [per_channel(value) for value in model(x, training=False)], autograph=False
        )
        parts = [read(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)]
        means, covariances, nonnegative = {}, {}, {}
        for name, part in zip(tensors, zip(*parts, strict=True), strict=True):
            values = np.concatenate([np.asarray(batch, np.float64) for batch in part])
            of_class = [values[labels == label] for label in range(teacher.num_classes)]
            means[name] = np.stack([x.mean(axis=0) for x in of_class]).astype(np.float32)
            covariances[name] = np.stack([_covariance(x) for x in of_class]).astype(np.float32)
            nonnegative[name] = bool(values.min() >= 0)
        return cls(fingerprint(teacher.model), counts, means, covariances, nonnegative)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz` file."""
        names = [*self.means]
        arrays: dict[str, Any] = {
            "teacher": np.array(self.teacher),
            "counts": self.counts,
            "layers": np.array(names),
            "nonnegative": np.array([self.nonnegative[name] for name in names]),
        }
        for number, name in enumerate(names):
            arrays[f"mean_{number}"] = self.means[name]
            arrays[f"covariance_{number}"] = self.covariances[name]
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str], teacher: Teacher) -> "ActivationRecords":
        """Read a file that `save` wrote for this teacher.

        Raises:
            InputError: If the file is not such a file, or belongs to another teacher.
        """
        try:
            with open(path, "rb") as opened, np.load(opened) as file:
                names = [str(name) for name in file["layers"]]
                found = cls(
                    str(file["teacher"]),
                    file["counts"],
                    {name: file[f"mean_{i}"] for i, name in enumerate(names)},
                    {name: file[f"covariance_{i}"] for i, name in enumerate(names)},
                    dict(zip(names, map(bool, file["nonnegative"]), strict=True)),
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                "`records` must be a file of activation records. Received: "
                f"records={os.fspath(path)!r} ({error}). Write one with keras_zskd.record, where "
                "the training data is."
            ) from error
        if found.teacher != fingerprint(teacher.model):
            raise InputError(
                "`records` must be those of this teacher. Received: "
                f"records={os.fspath(path)!r}, of a teacher with other weights. Record this one."
            )
        return found

    @property
    def digest(self) -> str:
        """A short hash of all numbers."""
        digest = hashlib.sha256(self.teacher.encode())
        for name in self.means:
            digest.update(np.ascontiguousarray(self.means[name]).tobytes())
            digest.update(np.ascontiguousarray(self.covariances[name]).tobytes())
        return digest.hexdigest()[:16]

    def overall(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return mean `(D,)` and covariance `(D, D)` of a layer over all classes."""
        share = self.counts / self.counts.sum()
        means = self.means[layer].astype(np.float64)
        mean = share @ means
        between = np.einsum("k,ki,kj->ij", share, means - mean, means - mean)
        within = np.einsum("k,kij->ij", share, self.covariances[layer].astype(np.float64))
        return mean, within + between


def _covariance(values: np.ndarray) -> np.ndarray:
    centered = values - values.mean(axis=0)
    return np.asarray(centered.T @ centered / len(values))
