"""`size_by_time` and `steps_by_time`: sizes that fill the time, each measured once."""

import dataclasses
import types

import numpy as np

from keras_zskd.runs.sizing import Sizes, size_by_time, steps_by_time


class FakeRun:
    """A run of which 10 seconds are gone."""

    elapsed = 10.0
    first, per_step = 7.2, 0.02

    def __init__(self, num_classes=10, is_multi_label=False):
        self.teacher = types.SimpleNamespace(num_classes=num_classes, is_multi_label=is_multi_label)
        self.kept, self.said = {}, []

    def pace(self, *arguments):
        return self.first, self.per_step

    def keep(self, name, make):
        if name not in self.kept:
            self.kept[name] = make()
        return self.kept[name]

    def say(self, text):
        self.said.append(text)


class FakeGenerator:
    """5 milliseconds an impression."""

    def measure(self, count, directory):
        return 3.0, 0.005 * count


def sized(minutes, wanted=None, run=None):
    """`size_by_time` where compiling takes 7.2 seconds and a step 20 milliseconds."""
    arguments = (wanted or Sizes(None, None), FakeGenerator(), None, None, 256)
    found = size_by_time(run or FakeRun(), minutes, *arguments)
    return dataclasses.replace(found, training_ends=None)


def test_the_time_that_is_left_is_shared():
    # Of 120 seconds 10 are gone and 20 are for imports and epochs (11) and export (1.25 times 7.2).
    # 7 % of the rest are kept free. Of what is left 20 % are for impressions.
    assert sized(2.0) == Sizes(3_348, 3_348)


def test_sizes_that_are_given_are_kept():
    assert sized(2.0, Sizes(1_000, None)) == Sizes(1_000, 3_935)
    assert sized(2.0, Sizes(None, 80)) == Sizes(3_348, 80)
    assert sized(2.0, Sizes(0, 80)) == Sizes(0, 80)
    assert sized(2.0, Sizes(None, 0)) == Sizes(3_348, 0)


def test_a_short_time_is_for_pictures_alone():
    assert sized(0.75) == Sizes(0, 698)
    assert sized(0.1) == Sizes(0, 250)  # Five seconds at least.


def test_sets_of_labels_are_worth_few_impressions():
    # Of 54 seconds 24 are left, 7 % less are planned, and a fifth of them is for impressions.
    assert sized(0.9, run=FakeRun(is_multi_label=True)).num_impressions == 893
    assert sized(0.9).num_impressions == 0


def test_few_steps_are_announced(monkeypatch):
    run = FakeRun()
    sized(2.0, run=run)
    assert len(run.said) == 1
    monkeypatch.setattr(FakeRun, "per_step", 2.0)
    run = FakeRun()
    assert sized(2.0, run=run).steps < 50
    assert "Give it more time" in run.said[1]


def test_no_time_means_no_training():
    assert sized(0) == Sizes(0, 0)


def test_without_a_time_it_grows_with_the_networks(monkeypatch):
    # 12,000 impressions and 800,000 examples: 122.5 seconds, and 30 are for other things.
    assert sized(None).num_impressions == round(0.2 * 0.93 * 92.5 / 0.005)
    monkeypatch.setattr(FakeRun, "per_step", 5.0)
    # An hour, and no more impressions than are worth it.
    assert sized(None) == Sizes(40_000, round((0.93 * 3_570 - 200) / 5.0))


def test_without_a_time_it_grows_with_the_classes():
    # With 1,000 classes 40,000 / 12,000 times as long as the 122.5 seconds of up to 300 classes.
    assert sized(None, run=FakeRun(300)) == sized(None)
    left = 0.93 * (122.5 * 40 / 12 - 30)
    assert sized(None, run=FakeRun(1_000)).num_impressions == round(0.2 * left / 0.005)


def test_a_continued_run_has_the_sizes_of_the_first(monkeypatch):
    run = FakeRun()
    first = sized(2.0, run=run)
    assert run.said == [
        "about 2.0 minutes in all: 3,348 impressions, then 3,348 steps of 256 examples"
    ]
    monkeypatch.setattr(FakeRun, "per_step", 1.0)
    assert sized(2.0, run=run) == first
    assert all(isinstance(value, np.ndarray) for value in run.kept["sizes"].values())


class TestStepsByTime:
    def test_what_is_left_after_the_synthesis_is_for_the_training(self):
        run = FakeRun()
        run.elapsed = 50.0  # The training may take until second 100; 7 % of the rest are kept free.
        assert steps_by_time(run, Sizes(1_000, 3_000, 100.0), None, None, 256) == 2_325
        run.elapsed = 60.0  # A continued run keeps the number.
        assert steps_by_time(run, Sizes(1_000, 3_000, 100.0), None, None, 256) == 2_325

    def test_a_short_training_is_not_measured_again(self):
        run = FakeRun()
        run.elapsed = 71.0
        assert steps_by_time(run, Sizes(1_000, 700, 100.0), None, None, 256) == 700
        run.elapsed = 10.0  # A continued run does not measure either.
        assert steps_by_time(run, Sizes(1_000, 700, 100.0), None, None, 256) == 700

    def test_given_steps_are_kept(self):
        run = FakeRun()
        assert steps_by_time(run, Sizes(1_000, 80), None, None, 256) == 80
        assert steps_by_time(run, Sizes(0, 0), None, None, 256) == 0
        assert not run.kept
