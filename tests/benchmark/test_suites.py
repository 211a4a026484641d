"""The suites as data: names, pairs and settings are valid."""

import json

import pytest

import keras_zskd as zskd
from keras_zskd import models
from keras_zskd.benchmark.suite import Suite
from keras_zskd.benchmark.suites import SUITES
from keras_zskd.methods import get_method


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_a_suite_is_consistent(suite):
    names = [row.name for row in suite.rows]
    assert len(set(names)) == len(names)
    assert {row.pair for row in suite.rows} == set(suite.pairs)
    assert {pair.teacher for pair in suite.pairs.values()} == set(suite.teachers)
    for pair in suite.pairs.values():
        assert pair.teacher in models.ARCHITECTURES
        assert pair.student in models.ARCHITECTURES or 0 < pair.student <= 1
    data = json.dumps(suite.as_json())
    assert json.dumps(Suite.from_json(json.loads(data)).as_json()) == data


@pytest.mark.parametrize(
    "row",
    [row for suite in SUITES.values() for row in suite.rows],
    ids=lambda row: row.name,
)
def test_the_settings_of_a_row_fit_its_method(row):
    if row.method not in zskd.METHODS and ":" not in row.method:
        pytest.skip(f"{row.method} is not in this installation")
    method = get_method(row.method).preset(row.preset, **row.settings)
    counts = method.counts if row.counts is None else row.counts
    assert set(counts) <= set(method.arguments())
    assert bool(counts) or row.counts == ()


def test_the_published_figures_of_the_paper_are_in_the_suite():
    published = {row.name: row.published for row in SUITES["mnist"].rows}
    assert published["zskd_24000-half"] == 98.77
    assert published["hinton-half"] == 99.25
    assert published["dafl-quarter"] == 98.20
    assert published["dafl-half"] is None
