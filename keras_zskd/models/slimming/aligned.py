"""`aligned_layers`: activations of a teacher whose folded channels are those of a student."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np

from keras_zskd.models.graph import inline, share_layer
from keras_zskd.models.slimming.assignment import fold_of
from keras_zskd.models.slimming.calls import Call
from keras_zskd.models.slimming.folding import Folding
from keras_zskd.models.slimming.reading import read_channels


@dataclasses.dataclass(frozen=True)
class AlignedLayers:
    """A layer of the teacher and the layer of the student in its place.

    Attributes:
        teacher_layer: Name of the teacher's layer.
        student_layer: Name of the student's layer.
        channels: `(N, K)`, shares of the teacher's channels in each channel of the student.
        num_features: Number of values that the teacher's layer outputs for one input.
    """

    teacher_layer: str
    student_layer: str
    channels: np.ndarray
    num_features: int


def aligned_layers(folding: Folding) -> list[AlignedLayers]:
    """Return the activations that a student has folded.

    Returns:
        One pair for each layer with an activation function that is called once and has fewer
        channels in the student. None if the student has other layers without weights.
    """
    calls = [call for call, _ in folding.calls]
    twins = read_channels(inline(folding.student, share_layer))
    if [type(call.op) for call in calls] != [type(twin.op) for twin in twins]:
        return []
    found = []
    for call, twin in zip(calls, twins, strict=True):
        if not _is_activation(call.op) or _num_calls(call, calls) > 1:
            continue
        fold = fold_of(call.outputs[0][-1], folding.folds)
        if fold.size < len(fold.labels):
            channels = np.zeros((len(fold.labels), fold.size), np.float32)
            channels[np.arange(len(fold.labels)), fold.labels] = fold.factors["made"]
            num_features = math.prod(size or 1 for size in call.shapes[0][1:])
            found.append(AlignedLayers(call.op.name, twin.op.name, channels, num_features))
    return found


def _is_activation(op: Any) -> bool:
    if isinstance(op, (keras.layers.ReLU, keras.layers.LeakyReLU)):
        return True
    return getattr(op, "activation", keras.activations.linear) is not keras.activations.linear


def _num_calls(call: Call, calls: list[Call]) -> int:
    return sum(other.op is call.op for other in calls)
