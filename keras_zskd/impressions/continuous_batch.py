"""`ContinuousBatch`: slots for impressions in the making, each refilled as soon as it is done."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.replicas import Replicas

_STATE = ("z", "target", "draws")
# Between two looks at what is done: few steps, since a slot may wait as long, but not for a look that
# takes longer than the steps.
_SHORTEST, _LOOKS = 3, 100
# Seconds that starting states may take before a batch that stands still is said to be waiting. Other
# workers may wait for what it holds: at the end of a job all do.
_SOON = 0.3


class ContinuousBatch:
    """A batch whose impressions come and go one by one.

    An impression that is done leaves its slot, and a new one takes it, so that no slot runs for
    nothing (the continuous batching of language models). Looked at every few steps; until then the
    engine keeps what is done as it is, so an impression depends on nothing but itself.

    Args:
        engine: What moves the impressions.
        replicas: Where.
        size: Slots, over all replicas.
        group_size: Neighbours that come and go together.

    Attributes:
        size: The same.
    """

    def __init__(
        self,
        engine: PixelEngine,
        replicas: Replicas,
        size: int,
        group_size: int,
    ):
        self.size = size
        self._engine = engine
        self._replicas = replicas
        self._group_size = group_size
        self._round = np.int32(round_length(engine.steps, engine.objective.stops))
        self._start = replicas.function(engine.start, engine.compiled)
        self._advance = replicas.function(engine.advance, engine.compiled)
        self._refill = replicas.function(_refill, engine.compiled)
        self._finish = replicas.function(engine.finish, engine.compiled)
        self._state: Any = None
        self._slots: dict[str, np.ndarray] = {}

    def run(
        self, pieces: Iterable[np.ndarray], seed: int
    ) -> Generator[dict[str, np.ndarray] | None, None, None]:
        """Make impressions until the pieces end.

        Args:
            pieces: Indices of impressions, whole groups, up to `size` at a time. Read in a thread of
                its own, a piece or two ahead: it may wait as long as it likes.
            seed: Of all randomness.

        Yields:
            None after each round of steps, when `look` shows what is forming; and each batch of
            finished impressions, `size` or fewer of them: what `PixelEngine.finish` returns, and
            `index`, `label` and `steps`, the steps spent on each.
        """
        starts = _Starts(pieces, lambda piece: self._begin(seed, piece))
        size, group = self.size, self._group_size
        slots = {
            "index": np.full(size, -1),
            "label": np.zeros(size, np.int64),
        }
        self._slots = slots
        self._state = None
        done: list[dict[str, np.ndarray]] = []
        try:
            while True:
                empty = np.flatnonzero(slots["index"] < 0)
                is_idle = len(empty) == size
                fresh = starts.take(len(empty), _SOON if is_idle else 0.0)
                if fresh is None and is_idle:
                    # Nothing comes soon: others may wait for what is done here.
                    yield from self._finished(done, least=1)
                    fresh = starts.take(len(empty), None)
                    if fresh is None:
                        break
                if fresh is not None:
                    self._place(fresh, empty[: len(fresh["index"])])
                self._state = self._advance(self._state, self._round)
                yield None
                is_done = self._replicas.join(self._state["is_done"])
                is_done = np.repeat(is_done.reshape(-1, group).all(axis=1), group)
                leaving = np.flatnonzero(is_done & (slots["index"] >= 0))
                if len(leaving):
                    done.append(self._leave(leaving))
                yield from self._finished(done, least=size)
        finally:
            starts.close()

    def look(self) -> dict[str, np.ndarray]:
        """What is forming in the slots now, as `PixelEngine.finish` shows it, with its labels."""
        used = self._slots["index"] >= 0
        seen = self._finish({"z": self._state["z"], "target": self._state["target"]})
        shown = {name: self._replicas.join(value)[used] for name, value in seen.items()}
        steps = self._replicas.join(self._state["age"])[used]
        return {**shown, "label": self._slots["label"][used], "steps": steps}

    def _begin(self, seed: int, piece: np.ndarray) -> dict[str, np.ndarray]:
        """Starting states of the impressions of a piece, one row each."""
        # Always of one shape, so that it is compiled once.
        padded = np.concatenate([piece, np.full(self.size - len(piece), piece[-1])])
        drawn = self._engine.draw(seed, padded)
        label = drawn.pop("label")
        started = self._start(drawn)
        rows = {name: self._replicas.join(started[name])[: len(piece)] for name in _STATE}
        return {
            **rows,
            "index": np.asarray(piece, np.int64),
            "label": label[: len(piece)],
        }

    def _place(self, fresh: dict[str, np.ndarray], places: np.ndarray) -> None:
        """Put starting states into empty slots."""
        for name in ("index", "label"):
            self._slots[name][places] = fresh[name]
        rows = {
            name: np.zeros((self.size, *fresh[name].shape[1:]), fresh[name].dtype)
            for name in _STATE
        }
        is_fresh = np.zeros(self.size, bool)
        is_fresh[places] = True
        for name in _STATE:
            rows[name][places] = fresh[name]
        self._state = self._refill(self._state, rows, is_fresh)

    def _leave(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """Take impressions out of their slots."""
        names = {"z": "z", "target": "target", "age": "steps"}
        rows = {new: self._replicas.join(self._state[old])[places] for old, new in names.items()}
        rows |= {name: self._slots[name][places] for name in ("index", "label")}
        self._slots["index"][places] = -1
        return rows

    def _finished(
        self, done: list[dict[str, np.ndarray]], least: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Finish what is done, in batches, as long as there are `least`; the rest stays in `done`."""
        while done and sum(len(rows["index"]) for rows in done) >= least:
            rows = {name: np.concatenate([part[name] for part in done]) for name in done[0]}
            done[:] = [{name: value[self.size :] for name, value in rows.items()}]
            if not len(done[0]["index"]):
                done.clear()
            rows = {name: value[: self.size] for name, value in rows.items()}
            count = len(rows["index"])
            padded = {
                name: np.concatenate(
                    [rows[name], rows[name][-1:].repeat(self.size - count, axis=0)]
                )
                for name in ("z", "target")
            }
            finished = self._finish(padded)
            yield {
                **{name: self._replicas.join(value)[:count] for name, value in finished.items()},
                **{name: rows[name] for name in ("index", "label", "steps")},
            }


def round_length(steps: int, stops: bool) -> int:
    """How many steps to make between two looks at the slots: a divisor of `steps`.

    A divisor, so that impressions of different ages share the rounds.

    Args:
        steps: Of an impression, at most.
        stops: Whether impressions may be done earlier; else a look is for those who watch.
    """
    longest = max(_SHORTEST, steps // _LOOKS) if stops else max(1, steps // 4)
    return max(n for n in range(1, longest + 1) if steps % n == 0)


def _refill(state: Any, rows: dict[str, Any], is_fresh: Any) -> dict[str, Any]:
    """The state with the rows that `is_fresh` `(N,)` says replaced by new ones."""
    new = {
        **{name: tf.convert_to_tensor(value) for name, value in rows.items()},
        "mean": tf.zeros_like(rows["z"]),
        "variance": tf.zeros_like(rows["z"]),
        "age": tf.zeros_like(is_fresh, tf.int32),
        "is_done": ~is_fresh,  # Of an empty slot.
    }
    if state is None:
        return new

    def choose(old: Any, fresh: Any) -> Any:
        wide = tf.reshape(is_fresh, (-1, *(1 for _ in old.shape[1:])))
        return tf.where(wide, fresh, old)

    return keras.tree.map_structure(choose, state, {name: new[name] for name in state})


class _Starts:
    """Starting states, made in a thread of its own while the batch before them runs."""

    def __init__(self, pieces: Iterable[np.ndarray], begin: Any):
        self._ready: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._rest: dict[str, np.ndarray] | None = None
        self._has_ended = False
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(pieces, begin), daemon=True)
        self._thread.start()

    def take(self, count: int, seconds: float | None) -> dict[str, np.ndarray] | None:
        """Up to `count` rows; None if there are none within `seconds`, or (None) none any more."""
        if not count:
            return None
        if self._rest is None:
            self._rest = self._next(seconds)
        if self._rest is None:
            return None
        rows = {name: value[:count] for name, value in self._rest.items()}
        self._rest = {name: value[count:] for name, value in self._rest.items()}
        if not len(self._rest["index"]):
            self._rest = None
        return rows

    def close(self) -> None:
        """Let the thread end; one that waits for other workers is left behind."""
        self._is_closed.set()

    def _next(self, seconds: float | None) -> dict[str, np.ndarray] | None:
        if self._has_ended:
            return None
        try:
            rows = self._ready.get(block=seconds != 0.0, timeout=seconds or None)
        except queue.Empty:
            return None
        if isinstance(rows, BaseException):
            raise rows
        self._has_ended = rows is None
        return rows

    def _make(self, pieces: Iterable[np.ndarray], begin: Any) -> None:
        last: Any = None
        try:
            for piece in pieces:
                if not self._put(begin(piece)):
                    return
        except BaseException as error:  # Raised where the rows are taken.
            last = error
        self._put(last)

    def _put(self, rows: Any) -> bool:
        while not self._is_closed.is_set():
            try:
                self._ready.put(rows, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False
