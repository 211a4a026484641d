"""`ContinuousBatch`: slots for impressions, each refilled as soon as it is done."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.impressions.engine import PixelEngine
from keras_zskd.impressions.replicas import Replicas

_STATE = ("z", "target", "draws", "aim")
# Steps between two checks for finished impressions: few, since a finished slot may idle that long,
# but enough that a check does not take longer than the steps.
_SHORTEST, _LOOKS = 3, 100
_STOP, _END = "stop", "end"


class ContinuousBatch:
    """A batch whose impressions enter and leave one by one.

    A new impression takes the slot of one that is done, so that no slot idles (continuous batching,
    as in the serving of language models). Slots are checked every few steps. Until then the engine
    leaves finished impressions unchanged, so an impression does not depend on the others.

    Args:
        engine: The engine that optimizes the impressions.
        replicas: The replicas to run on.
        size: Number of slots over all replicas.
        group_size: Number of consecutive impressions that enter and leave together.

    Attributes:
        size: Number of slots over all replicas.
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
        self, pieces: Iterable[np.ndarray | None], seed: int
    ) -> Generator[dict[str, np.ndarray] | None, None, None]:
        """Make impressions until `pieces` is exhausted.

        Args:
            pieces: Indices of impressions in whole groups, up to `size` at a time. At a None, all
                earlier impressions are finished before the next one begins, so that the impressions
                between two Nones do not depend on the others, bit for bit. A separate thread reads
                one or two pieces ahead.
            seed: Seed of all random numbers.

        Yields:
            None after each round of steps, at which `look` returns the unfinished impressions; and
            each batch of at most `size` finished impressions, as the result of `PixelEngine.finish`
            with `index`, `label` and `steps`, the number of steps of each impression.
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
                fresh = starts.take(len(empty))
                if fresh is None and len(empty) == size:
                    yield from self._finished(done, least=1)
                    if not starts.resume():
                        break
                    continue
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
        """The current impressions as `PixelEngine.finish` returns them, with labels and steps."""
        used = self._slots["index"] >= 0
        seen = self._finish({"z": self._state["z"], "target": self._state["target"]})
        shown = {name: self._replicas.join(value)[used] for name, value in seen.items()}
        steps = self._replicas.join(self._state["age"])[used]
        return {**shown, "label": self._slots["label"][used], "steps": steps}

    def _begin(self, seed: int, piece: np.ndarray) -> dict[str, np.ndarray]:
        """Initial states of the impressions of a piece, one row each."""
        # Padded to a fixed shape, so that the start is compiled only once.
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
        """Put initial states into empty slots."""
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
        """Remove impressions from their slots."""
        names = {"z": "z", "target": "target", "age": "steps"}
        rows = {new: self._replicas.join(self._state[old])[places] for old, new in names.items()}
        rows |= {name: self._slots[name][places] for name in ("index", "label")}
        self._slots["index"][places] = -1
        return rows

    def _finished(
        self, done: list[dict[str, np.ndarray]], least: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Finish batches while `done` holds at least `least` impressions; the rest stay in it."""
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
    """Number of steps between two checks of the slots: a divisor of `steps`.

    Since it is a divisor, every impression has its last step at the end of a round, whenever it
    started.

    Args:
        steps: Largest number of steps of an impression.
        stops: Whether impressions may be done earlier. If not, checks only serve the callbacks.
    """
    longest = max(_SHORTEST, steps // _LOOKS) if stops else max(1, steps // 4)
    return max(n for n in range(1, longest + 1) if steps % n == 0)


def _refill(state: Any, rows: dict[str, Any], is_fresh: Any) -> dict[str, Any]:
    """The state with the rows where `is_fresh` `(N,)` is True replaced by new ones."""
    new = {
        **{name: tf.convert_to_tensor(value) for name, value in rows.items()},
        "mean": tf.zeros_like(rows["z"]),
        "variance": tf.zeros_like(rows["z"]),
        "age": tf.zeros_like(is_fresh, tf.int32),
        "is_done": ~is_fresh,  # True for an empty slot.
    }
    if state is None:
        return new

    def choose(old: Any, fresh: Any) -> Any:
        wide = tf.reshape(is_fresh, (-1, *(1 for _ in old.shape[1:])))
        return tf.where(wide, fresh, old)

    return keras.tree.map_structure(choose, state, {name: new[name] for name in state})


class _Starts:
    """Initial states, made in a separate thread while the previous batch runs."""

    def __init__(self, pieces: Iterable[np.ndarray | None], begin: Any):
        self._ready: queue.Queue[Any] = queue.Queue(maxsize=1)
        self._rest: dict[str, np.ndarray] | None = None
        self._stop = ""  # _STOP or _END while `take` returns nothing until `resume`.
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._make, args=(pieces, begin), daemon=True)
        self._thread.start()

    def take(self, count: int) -> dict[str, np.ndarray] | None:
        """Up to `count` rows; None if there are no more before the next stop."""
        if not count or self._stop:
            return None
        if self._rest is None:
            found = self._ready.get()
            if isinstance(found, BaseException):
                raise found
            if isinstance(found, str):
                self._stop = found
                return None
            self._rest = found
        rows = {name: value[:count] for name, value in self._rest.items()}
        rest = {name: value[count:] for name, value in self._rest.items()}
        self._rest = rest if len(rest["index"]) else None
        return rows

    def resume(self) -> bool:
        """Continue after a stop; return whether it was not the end of all pieces."""
        stop, self._stop = self._stop, ""
        return stop == _STOP

    def close(self) -> None:
        """Let the thread end; it is not joined."""
        self._is_closed.set()

    def _make(self, pieces: Iterable[np.ndarray | None], begin: Any) -> None:
        last: Any = _END
        try:
            for piece in pieces:
                if not self._put(_STOP if piece is None else begin(piece)):
                    return
        except BaseException as error:  # Raised again where the rows are taken.
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
