"""A small generator with every object of a recipe and few steps."""

import pytest

from keras_zskd.impressions.canvas import UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.priors import TotalVariation
from keras_zskd.impressions.targets import DirichletTargets
from keras_zskd.impressions.transforms import Jitter
from keras_zskd.models.teacher import Teacher


@pytest.fixture(scope="session")
def make_generator(make_teacher):
    """A function that builds a generator; keyword arguments replace the tiny settings."""

    def make(kind="logits", seed=0, **changes):
        arguments = {
            "targets": DirichletTargets((1.0, 0.1)),
            "temperature": 2.0,
            "priors": [TotalVariation(1e-3)],
            "transforms": [Jitter(1)],
            "canvas": UniformCanvas("clip"),
            "steps": 4,
            "learning_rate": 0.05,
        }
        return ImpressionGenerator(
            Teacher(make_teacher(kind, seed=seed), (0, 1)), **{**arguments, **changes}
        )

    return make


@pytest.fixture(scope="session")
def one_step(make_generator):
    """`make_generator(steps=1)`, compiled once and shared by the tests that do not depend on it."""
    return make_generator(steps=1)
