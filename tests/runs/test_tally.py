"""The cost of each method against products of its sizes."""

import numpy as np
import pytest

import keras_zskd as zskd
from keras_zskd import datasets
from keras_zskd.distillation.generator_networks import image_generator
from keras_zskd.models.arithmetic import forward_flops
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.tally import Tally


@pytest.fixture
def tally(tiny_teacher, monkeypatch):
    images = np.random.default_rng(0).random((80, 8, 8, 1), "float32")
    monkeypatch.setattr(datasets, "load", lambda *arguments: (images, np.arange(80) % 4))
    teacher = zskd.Teacher(tiny_teacher, (0, 1))
    with Tally(teacher, zskd.slim(tiny_teacher, 0.5), resources=Resources("x")) as tally:
        yield tally


@pytest.fixture
def student(tally):
    """Cost of a pass of the student, in passes of the teacher."""
    return forward_flops(tally.new_student()) / forward_flops(tally.teacher.model)


def test_impressions_cost_three_passes_a_step(tally, student):
    method = zskd.METHODS["zskd"](
        num_impressions=200, synthesis_steps=5, epochs=3, batch_size=9, augmentation="none"
    )
    method.train(tally)
    synthesis, training = tally.costs
    assert synthesis.forwards == 200 * 5 * 3
    # 20 are held out; with the stored answers the teacher is not needed again.
    assert training.forwards == pytest.approx(3 * 180 * 3 * student)
    tally.restart()
    zskd.METHODS["zskd"](num_impressions=200, synthesis_steps=5, epochs=3, batch_size=9).train(
        tally
    )
    assert tally.costs[1].forwards == pytest.approx(3 * 180 * (1 + 3 * student))
    assert tally.costs[1].fresh == 0


def test_real_images_are_shown_to_the_teacher(tally, student):
    zskd.METHODS["hinton"](epochs=2, batch_size=8).train(tally)
    assert tally.forwards == pytest.approx(2 * 72 * (1 + 3 * student))


def test_a_pool_is_made_by_three_networks(tally, student):
    settings = {"latent": 4, "filters": 4, "rounds": 2, "batches": 3, "groups": 5, "steps": 7}
    zskd.METHODS["nayer"](**settings, generator_steps=2, batch_size=6).train(tally)
    first, training, *_ = tally.costs
    teacher = tally.teacher
    generator = image_generator(teacher, 4, 4, output="normalized_tanh", seed=0)
    drawn = forward_flops(generator) / forward_flops(teacher.model)
    # Five images of each of four classes.
    assert first.forwards == pytest.approx(3 * 5 * 4 * 2 * 3 * (1 + drawn + student))
    assert training.forwards == pytest.approx(7 * 6 * (1 + 3 * student))


@pytest.mark.parametrize(
    ("name", "teacher", "generator", "of_student"),
    # One update of the generator; then one student step, or two on fresh images.
    [("dafl", 3 + 1, 3, 3), ("dfad", 3 + 2, 3 + 2, 3 + 6)],
)
def test_generators_count_all_three_networks(tally, student, name, teacher, generator, of_student):
    settings = {"latent": 4, "filters": 4, "epochs": 2, "rounds": 5, "batch_size": 6}
    method = zskd.METHODS[name](**settings, **({"student_steps": 2} if name == "dfad" else {}))
    method.train(tally)
    (cost,) = tally.costs
    network = forward_flops(image_generator(tally.teacher, 4, 4, 1e-3, "tanh", 0))
    network /= forward_flops(tally.teacher.model)
    each = teacher + generator * network + of_student * student
    assert cost.forwards == pytest.approx(60 * each)
    assert cost.fresh == 60 * (3 if name == "dfad" else 1)


def test_updates_of_images_between_trainings_count(tally, student):
    method = zskd.METHODS["kimura"](
        num_images=8, num_pseudo=10, trainings=2, epochs=1, batch_size=4, moves=2
    )
    method.train(tally)
    costs = {cost.name: cost.forwards for cost in tally.costs}
    assert list(costs) == ["images", "training-1", "pool-1", "training-2"]
    assert costs["pool-1"] == pytest.approx(10 * 2 * 3 * (1 + student))


@pytest.mark.parametrize(
    ("method", "factor", "scaled"),
    [
        (zskd.METHODS["zskd"](num_impressions=1_000), 0.5, {"num_impressions": 496}),
        (zskd.METHODS["zskd"](num_impressions=10), 0.01, {"num_impressions": 1}),
        (
            zskd.METHODS["best"](num_impressions=0, steps=64),
            2,
            {"num_impressions": 0, "steps": 128},
        ),
        (zskd.METHODS["best"](), 2, {"num_impressions": 24_000, "steps": 6_248}),
        (zskd.METHODS["dafl"](rounds=10), 3, {"rounds": 30}),
    ],
)
def test_counts_are_scaled_and_nothing_else(method, factor, scaled):
    found = method.scaled(factor)
    assert found.get_config() == {**method.get_config(), **scaled}
