import copy
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_zskd.impressions.canvas import UniformCanvas
from keras_zskd.impressions.continuous_batch import ContinuousBatch, round_length
from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.objectives import MatchTargets
from keras_zskd.impressions.replicas import Replicas
from keras_zskd.impressions.targets import DirichletTargets
from keras_zskd.impressions.transforms import Transform
from keras_zskd.models.teacher import Teacher

STEPS, ROUND, TOLERANCE, COUNT = 12, 3, 0.05, 30


class Shake(Transform):
    """Shifts the input slightly by the draws of impression and step."""

    num_draws = 2

    def apply(self, pixels, uniforms):
        return pixels + 0.02 * (uniforms[:, :1] - uniforms[:, 1:])


@pytest.fixture(scope="module")
def engine():
    """An engine whose impressions take between a few and all of their steps."""
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="head")])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(0, 1, (6, 3)), rng.normal(0, 0.3, 3)])
    return PixelEngine(
        Teacher(model, (0, 1)),
        objective=MatchTargets(DirichletTargets((1.0,)), 1.0, TOLERANCE),
        priors=(),
        transforms=(Shake(),),
        canvas=UniformCanvas("none"),
        steps=STEPS,
        learning_rate=0.25,
    )


def _with(engine, tolerance):
    """Return the engine with another tolerance."""
    engine = copy.copy(engine)
    engine.objective = MatchTargets(engine.objective.targets, 1.0, tolerance)
    return engine


def _batch(engine, size, tolerance=TOLERANCE, group_size=1):
    replicas = Replicas(tf.distribute.get_strategy())
    return ContinuousBatch(_with(engine, tolerance), replicas, size, group_size)


def _pieces(indices, *lengths):
    """Split `indices` into pieces of these lengths, in order."""
    pieces, indices = [], list(indices)
    while indices:
        length = lengths[len(pieces) % len(lengths)]
        pieces.append(np.array(indices[:length]))
        indices = indices[length:]
    return pieces


def _run(batch, pieces, seed=0):
    """Return the finished impressions by index, and the number of rounds."""
    made = list(batch.run(pieces, seed))
    finished = [part for part in made if part is not None]
    joined = {name: np.concatenate([part[name] for part in finished]) for name in finished[0]}
    order = np.argsort(joined["index"], kind="stable")
    return {name: value[order] for name, value in joined.items()}, len(made) - len(finished)


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(found["steps"], expected["steps"])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def schedule(engine):
    """Steps that each impression needs, from a loop without stopping."""
    engine = _with(engine, None)
    state = engine.start(engine.draw(0, np.arange(COUNT)))
    target = state["target"].numpy().astype("float64")
    entropy = -np.where(target > 0, target * np.log(np.maximum(target, 1e-300)), 0).sum(1)
    is_reached = []
    for step in range(STEPS):
        loss, _ = engine.loss(state["z"], state["target"], state["draws"][:, step])
        is_reached.append(loss.numpy() - entropy <= TOLERANCE)
        state = engine.advance(state, 1)
    is_reached.append(np.ones(COUNT, bool))  # After all steps.
    return np.array(is_reached).argmax(axis=0)


@pytest.fixture(scope="module")
def reference(engine):
    """The impressions of one large batch."""
    return _run(_batch(engine, COUNT), [np.arange(COUNT)])[0]


class TestWithoutTolerance:
    @pytest.mark.parametrize("size", [4, 7, COUNT])
    def test_equals_the_fixed_schedule(self, engine, size):
        drawn = engine.draw(0, np.arange(COUNT))
        expected = engine.finish(_with(engine, None).advance(engine.start(drawn), STEPS))
        found, rounds = _run(_batch(engine, size, None), _pieces(range(COUNT), size))
        np.testing.assert_array_equal(found["steps"], [STEPS] * COUNT)
        np.testing.assert_array_equal(found["label"], drawn["label"])
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
        # Four checks per batch, for callbacks.
        assert rounds == 4 * -(-COUNT // size)


class TestWithTolerance:
    def test_the_example_has_early_and_late_impressions(self, schedule):
        assert len(set(schedule)) > 6
        assert schedule.min() < 2
        assert schedule.max() == STEPS

    def test_each_leaves_once_its_target_is_reached(self, reference, schedule):
        np.testing.assert_array_equal(reference["steps"], schedule)
        assert np.all(reference["gap"][reference["steps"] < STEPS] < 2 * TOLERANCE)

    def test_a_finished_impression_equals_the_loop_after_its_steps(self, engine, reference):
        state = engine.start(engine.draw(0, np.arange(COUNT)))
        for name, value in engine.finish(engine.advance(state, STEPS)).items():
            np.testing.assert_allclose(reference[name], value, rtol=1e-4, atol=1e-5, err_msg=name)

    @pytest.mark.parametrize("size", [1, 4, 7])
    def test_does_not_depend_on_the_batch_size(self, engine, reference, size):
        _assert_same(_run(_batch(engine, size), _pieces(range(COUNT), size))[0], reference)

    def test_does_not_depend_on_the_order_and_the_pieces(self, engine, reference):
        batch = _batch(engine, 8)
        shuffled = np.random.default_rng(0).permutation(COUNT)
        for pieces in (_pieces(shuffled, 8), _pieces(range(COUNT)[::-1], 1, 5, 8, 2)):
            _assert_same(_run(batch, pieces)[0], reference)

    def test_needs_fewer_steps(self, engine, schedule):
        fixed = STEPS * COUNT
        rounds = 0
        for part in _batch(engine, 5).run(_pieces(range(COUNT), 5), 0):
            rounds += part is None
            time.sleep(0.02)  # Gives the next starts as much time as larger networks do.
        spent = 5 * ROUND * rounds
        # Slots idle until the end of a round, and when there are no more impressions to start.
        assert schedule.sum() <= spent < 0.8 * fixed

    def test_a_wide_tolerance_is_reached_at_once_and_a_narrow_one_never(self, engine):
        for tolerance, steps in ((100.0, 0), (1e-9, STEPS)):
            found, _ = _run(_batch(engine, 6, tolerance), [np.arange(6)])
            np.testing.assert_array_equal(found["steps"], [steps] * 6)

    def test_another_seed_gives_other_impressions(self, engine, reference):
        found, _ = _run(_batch(engine, COUNT), [np.arange(COUNT)], seed=1)
        assert np.abs(found["image"] - reference["image"]).mean() > 0.1


class TestBookkeeping:
    def test_every_impression_is_made_once_in_batches_of_limited_size(self, engine):
        indices = [*range(17), *range(40, 53), 1000]
        made = [
            part["index"]
            for part in _batch(engine, 4).run(_pieces(indices, 3, 4, 1), 0)
            if part is not None
        ]
        assert [len(part) for part in made] == [4] * 7 + [3]
        assert sorted(np.concatenate(made)) == indices

    def test_labels_and_targets_match_the_index(self, engine, reference):
        target, label = engine.objective.sample(engine.teacher, 0, np.arange(COUNT))
        np.testing.assert_array_equal(reference["index"], np.arange(COUNT))
        np.testing.assert_array_equal(reference["label"], label)
        np.testing.assert_array_equal(reference["target"], target)

    def test_no_pieces_give_no_impressions(self, engine):
        assert list(_batch(engine, 4).run([], 0)) == []

    def test_short_pieces_are_padded_and_compiled_once(self, engine):
        batch = _batch(engine, 4)
        for _ in range(2):  # A second run starts from the beginning.
            found, _ = _run(batch, _pieces(range(13), 4, 1, 2, 3))
            np.testing.assert_array_equal(found["index"], np.arange(13))
        functions = (batch._start, batch._advance, batch._finish)
        assert [function.experimental_get_tracing_count() for function in functions] == [1, 1, 1]

    def test_an_abandoned_run_does_not_affect_the_next(self, engine, reference):
        batch = _batch(engine, 8)
        left = batch.run(_pieces(range(COUNT)[::-1], 8), 3)
        next(left)
        left.close()
        _assert_same(_run(batch, _pieces(range(COUNT), 8))[0], reference)

    def test_nan_does_not_affect_other_impressions(self, engine, reference):
        class Torn(UniformCanvas):
            def draw(self, seed, indices, shape):
                drawn = super().draw(seed, indices, shape)
                drawn[np.asarray(indices) == 4] = np.nan
                return drawn

        settings = ("teacher", "objective", "priors", "transforms", "steps")
        torn = PixelEngine(
            **{name: getattr(engine, name) for name in settings},
            canvas=Torn("none"),
            learning_rate=engine.learning_rate,
        )
        for tolerance in (TOLERANCE, None):
            found, _ = _run(_batch(torn, 5, tolerance), _pieces(range(10), 5))
            assert found["steps"][4] == (0 if tolerance else STEPS)
            assert np.isnan(found["gap"][4])
            others = np.arange(10) != 4
            assert np.all(np.isfinite(found["gap"][others]))
            if tolerance:
                found, expected = (
                    {name: value[:10][others] for name, value in made.items()}
                    for made in (found, reference)
                )
                _assert_same(found, expected)


class TestGroups:
    @pytest.mark.parametrize("size", [3, 6, COUNT])
    def test_enter_and_leave_together_when_all_are_done(self, engine, schedule, size):
        batch = _batch(engine, size, group_size=3)
        made = [part for part in batch.run(_pieces(range(COUNT), size, 3), 0) if part is not None]
        seen = []
        for part in made:
            groups = part["index"].reshape(-1, 3)
            np.testing.assert_array_equal(groups, groups[:, :1] + [0, 1, 2])
            assert not np.any(groups[:, 0] % 3)
            # Impressions that wait for their group are frozen.
            np.testing.assert_array_equal(part["steps"], schedule[part["index"]])
            seen.extend(part["index"])
        assert sorted(seen) == list(range(COUNT))


class TestLook:
    def test_returns_the_unfinished_impressions(self, engine):
        drawn = engine.draw(0, np.arange(5))
        state = engine.start(drawn)
        batch = _batch(engine, 8, None)
        looks = [batch.look() for part in batch.run([np.arange(5)], 0) if part is None]
        assert len(looks) == STEPS // ROUND
        for number, seen in enumerate(looks, start=1):
            state = _with(engine, None).advance(state, ROUND)
            np.testing.assert_array_equal(seen["label"], drawn["label"])
            np.testing.assert_array_equal(seen["steps"], [ROUND * number] * 5)
            for name, value in engine.finish(state).items():  # Empty slots are not shown.
                np.testing.assert_allclose(seen[name], value, rtol=1e-4, atol=1e-5, err_msg=name)

    def test_impressions_of_different_ages(self, engine):
        batch = _batch(engine, 4)
        ages = set()
        for part in batch.run(_pieces(range(COUNT), 4), 0):
            if part is None:
                ages.add(tuple(batch.look()["steps"]))
        assert any(len(set(steps)) > 1 for steps in ages)


class TestSource:
    """The iterable of indices, which is read in a separate thread."""

    @pytest.mark.parametrize("tolerance", [TOLERANCE, None])
    def test_what_is_between_two_stops_does_not_depend_on_the_rest(self, engine, tolerance):
        batch = _batch(engine, 4, tolerance)
        parts = [_pieces(range(6), 4), _pieces(range(6, 17), 4), _pieces(range(17, 19), 4)]
        whole, _ = _run(batch, [piece for part in parts for piece in (*part, None)])
        np.testing.assert_array_equal(whole["index"], np.arange(19))
        for part in parts:
            alone, _ = _run(batch, part)
            for name, value in alone.items():  # Bit for bit.
                np.testing.assert_array_equal(whole[name][alone["index"]], value, err_msg=name)

    def test_nothing_begins_before_what_is_before_a_stop_is_finished(self, engine):
        seen = []
        for part in _batch(engine, 8).run([np.arange(5), None, np.arange(5, 9)], 0):
            if part is not None:
                seen.append(list(part["index"]))
        assert [sorted(indices) for indices in seen] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]

    def test_is_read_ahead_by_few_pieces(self, engine):
        asked = []

        def source():
            for number in range(20):
                asked.append(number)
                yield np.arange(4 * number, 4 * number + 4)

        run = _batch(engine, 4, None).run(source(), 0)
        next(run)
        time.sleep(0.5)
        # One is in the slots, one is ready, one is being read.
        assert len(asked) <= 3
        run.close()

    def test_error_of_the_source_is_raised(self, engine):
        def source():
            yield np.arange(4)
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            list(_batch(engine, 4).run(source(), 0))

    def test_error_of_the_draws_is_raised(self, engine, monkeypatch):
        def draw(seed, indices):
            raise MemoryError("too large")

        monkeypatch.setattr(engine, "draw", draw)
        with pytest.raises(MemoryError, match="too large"):
            list(_batch(engine, 4).run([np.arange(4)], 0))

    def _threads(self):
        return {thread for thread in threading.enumerate() if thread.is_alive()}

    @pytest.mark.parametrize("rounds", [0, 1, 5])
    def test_closing_early_ends_the_thread(self, engine, rounds):
        before = self._threads()
        run = _batch(engine, 4).run(_pieces(range(400), 4), 0)
        for _ in range(rounds):
            next(run)
        (begun,) = self._threads() - before or {None}
        assert (begun is None) == (rounds == 0)  # Nothing starts before the first request.
        run.close()
        if begun is not None:
            begun.join(5)
            assert not begun.is_alive()

    def test_the_thread_ends_with_the_pieces_or_an_error(self, engine):
        def failing():
            yield np.arange(4)
            raise OSError("gone")

        before = self._threads()
        list(_batch(engine, 4).run(_pieces(range(8), 4), 0))
        with pytest.raises(OSError, match="gone"):
            list(_batch(engine, 4).run(failing(), 0))
        for begun in self._threads() - before:
            begun.join(5)
        assert self._threads() <= before

    def test_a_waiting_thread_ends_later_when_the_run_is_closed(self, engine):
        may_go_on = threading.Event()

        def source():
            yield np.arange(4)
            may_go_on.wait(30)
            yield np.arange(4, 8)

        before = self._threads()
        run = _batch(engine, 4).run(source(), 0)
        next(run)
        (begun,) = self._threads() - before
        started = time.monotonic()
        run.close()
        assert time.monotonic() - started < 2
        may_go_on.set()
        begun.join(5)
        assert not begun.is_alive()


@pytest.mark.parametrize(
    ("steps", "stops", "expected"),
    [
        (1500, True, 15), (30, True, 3), (12, True, 3), (4, True, 2), (7, True, 1), (1, True, 1),
        (40, False, 10), (30, False, 6), (7, False, 1), (4, False, 1), (2, False, 1), (1, False, 1),
    ],
)  # fmt: skip
def test_round_length_divides_the_steps(steps, stops, expected):
    assert round_length(steps, stops) == expected
    assert steps % expected == 0
