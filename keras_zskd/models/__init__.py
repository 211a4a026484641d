"""Architectures from the literature, and `slim` for a narrower copy of any model.

`ARCHITECTURES` maps the names on the command line to functions that take `num_classes` and
`input_shape` and build a newly initialized model.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import keras

from keras_zskd.models.alexnet_pair import LocalResponseNormalization, alexnet, alexnet_half
from keras_zskd.models.lenet import lenet5, lenet5_half
from keras_zskd.models.resnet import resnet20
from keras_zskd.models.slimming.batch_norms import repair_batch_norms
from keras_zskd.models.slimming.folding import start_from
from keras_zskd.models.slimming.narrow_copy import slim

ARCHITECTURES: Mapping[str, Callable[..., keras.Model]] = MappingProxyType(
    {
        "lenet5": lenet5,
        "lenet5-half": lenet5_half,
        "lenet5-half-dafl": functools.partial(lenet5_half, "dafl"),
        "alexnet": alexnet,
        "alexnet-half": alexnet_half,
        "resnet20": resnet20,
    }
)

__all__ = [
    "ARCHITECTURES",
    "LocalResponseNormalization",
    "alexnet",
    "alexnet_half",
    "lenet5",
    "lenet5_half",
    "repair_batch_norms",
    "resnet20",
    "slim",
    "start_from",
]
