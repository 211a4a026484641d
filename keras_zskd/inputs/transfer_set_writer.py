"""`TransferSetWriter`: several workers write one transfer set, each its own shards."""

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError
from keras_zskd.inputs.shards import Ledger, Shard, cut, replace_text
from keras_zskd.inputs.tfds_files import records_path, write_info, write_records
from keras_zskd.inputs.transfer_set import (
    METADATA,
    TransferSet,
    shard_lengths,
)

# Seconds. How often a waiting worker looks, and how long it leaves the shard of another alone as
# long as it has made none itself, and so cannot tell how long one takes.
_POLL, _SLOWEST_POLL = 0.2, 5.0
_PATIENCE = 60.0


class TransferSetWriter:
    """Writes a transfer set shard by shard, together with others on the same directory.

    Shard k holds impressions `k * shard_size` to `(k + 1) * shard_size`, whoever makes it. What is on
    disk is always a valid dataset: a shard is written under a passing name and renamed when it is
    complete, and dataset_info.json names the longest run of finished shards from the first.

    Workers share nothing but the directory (see `shards.py`). A worker that dies, or takes far longer
    than the others, holds up nobody: when nothing else is left, its unfinished shards are made again
    by others, as MapReduce does. Impressions do not depend on who makes them, so a copy is the same
    shard, and which of two comes last makes no difference.

    Args:
        directory: Made if missing. A directory that holds something else is refused. For several
            workers, a POSIX file system that all of them see.
        metadata: How the impressions are made; must equal what a standing directory says.
        shard_size: Impressions per shard in a new directory, 1 or more. A standing one keeps its own.
        worker: Which worker this is, in [0, num_workers).
        num_workers: How many write to the directory, 1 or more.

    Attributes:
        shard_size: That of the directory.

    Raises:
        InputError: If an argument is off, or the directory holds something else, impressions made in
            another way, or those of a version that did not cut them into equal shards.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        metadata: dict[str, Any],
        shard_size: int,
        worker: int = 0,
        num_workers: int = 1,
    ):
        if shard_size < 1:
            raise InputError(f"shard_size={shard_size} was received; expected 1 or more.")
        if not 0 <= worker < num_workers:
            raise InputError(
                f"worker={worker} of num_workers={num_workers} was received; expected at least one "
                "worker, counted from 0."
            )
        self.directory = os.fspath(directory)
        self.worker, self.num_workers = worker, num_workers
        metadata = json.loads(json.dumps(metadata))
        self._begin({**metadata, "shard_size": shard_size})
        self.shard_size = self._agree(metadata)
        self._metadata = metadata
        self._ledger = Ledger(self.directory, self.shard_size)
        self._shards: list[Shard] = []  # All that the latest call is about,
        self._short: dict[int, int] = {}  # and the size of short ones that stood before.
        # Shards that this object has claimed and not written: which claim it was, and when.
        self._making: dict[int, tuple[int, float]] = {}
        self._longest = 0.0
        self._lock = threading.Lock()

    @property
    def num_finished(self) -> int:
        """Finished impressions, whoever made them, and wherever they stand. Costs a listing."""
        return sum(self._ledger.read()[0].values())

    def claim(self, num_impressions: int) -> Iterator[Shard]:
        """Yield the shards that this worker should make, each claimed as it is asked for.

        First its own share, every `num_workers`-th; then what nobody has claimed; then copies of what
        others have claimed and not finished, oldest claim first, each after a fair time: twice what
        this worker needed itself. Ends when every shard is finished, or made by this very object:
        when those that were yielded are written, the transfer set is whole.

        Args:
            num_impressions: How many the directory should hold in the end. A last, short shard of an
                earlier call for fewer is made again in full.

        Raises:
            InputError: If there would be more shards than TFDS can name.
        """
        self._shards = cut(num_impressions, self.shard_size)
        while rest := self._rest():
            own = [shard for shard in rest if self._is_own(shard, rest[shard])]
            free = [shard for shard in rest if not rest[shard]]
            # Others come here at the same moment: everybody begins in another place.
            turn = len(free) * self.worker // self.num_workers
            is_taken = False
            for shard in own or free[turn:] + free[:turn] or self._by_age(rest):
                if rest[shard] and not self._had_its_time(shard, rest[shard]):
                    continue
                if self._take(shard, rest[shard]):
                    is_taken = True
                    yield shard
                    if not own:
                        break  # What others were doing is old news by now.
            if not is_taken:
                time.sleep(_POLL)
        self._publish()
        self._ledger.sweep()

    def is_finished(self, shard: Shard) -> bool:
        """Whether the shard stands already, because somebody else's copy came first."""
        return bool(self._ledger.size(shard))

    def write(self, shard: Shard, impressions: dict[str, np.ndarray]) -> None:
        """Write one shard, completely; nothing, if somebody else's copy stands.

        May run in another thread than `claim`.

        Args:
            shard: One that `claim` yielded.
            impressions: `image`, `target`, `label`, `logits` and `gap`, each `(shard.size, ...)`.

        Raises:
            ValueError: If there are more or fewer impressions than the shard holds.
            OSError, tf.errors.OpError: If the disk is full, say; the shard is left unfinished and
                nothing of it remains.
        """
        if len(impressions["image"]) != shard.size:
            raise ValueError(
                f"{len(impressions['image'])} impressions were received; expected {shard.size}, as "
                f"shard {shard.number} is from {shard.start} to {shard.stop}."
            )
        part = self._ledger.part(shard)
        try:
            num_bytes = write_records(part, impressions)
            if not self.is_finished(shard):
                self._withdraw_short(shard)
                os.replace(part, records_path(self.directory, shard.number))
                self._ledger.finish(shard, num_bytes, self.worker)
        except FileNotFoundError:
            if not self.is_finished(shard):  # Else another finished it and swept our records away.
                raise
        finally:
            if os.path.exists(part):
                os.remove(part)
        self._publish()
        with self._lock:
            attempt, since = self._making.pop(shard.number, (0, time.monotonic()))
            self._longest = max(self._longest, time.monotonic() - since)
        self._ledger.release(shard, attempt)

    def _begin(self, metadata: dict[str, Any]) -> None:
        """Make the directory a transfer set, unless it is one; others may do so at this moment."""
        if os.path.lexists(self.directory):
            names = os.listdir(self.directory) if os.path.isdir(self.directory) else [""]
            if METADATA in names:
                return
            # Another worker that begins has at most a passing file there.
            if any(not name.startswith(f".{METADATA}.") for name in names):
                raise InputError(
                    f"The output directory {self.directory!r} holds something else; choose an empty "
                    "or a new one."
                )
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, METADATA)
        replace_text(path, json.dumps(metadata, indent=1), exclusive=True)

    def _agree(self, metadata: dict[str, Any]) -> int:
        """The shard size of the standing directory, which must hold what `metadata` says."""
        standing = dict(TransferSet(self.directory).metadata)
        shard_size = standing.pop("shard_size", None)
        changed = sorted(k for k in {*standing, *metadata} if standing.get(k) != metadata.get(k))
        if changed:
            raise InputError(
                f"{self.directory!r} holds impressions made in another way ({', '.join(changed)} "
                "differ); choose another directory, or remove this one."
            )
        if shard_size is None:
            raise InputError(
                f"{self.directory!r} was written by an older version, which did not cut it into "
                "equal shards; it can be read and not be added to, so choose another directory."
            )
        return int(shard_size)

    def _rest(self) -> dict[Shard, int]:
        """Shards that neither stand nor are in our hands, with the number of claims on each."""
        with self._lock:  # Before the listing: what is written in between is in one of the two.
            making = set(self._making)
        sizes, claims = self._ledger.read()
        self._short = {n: size for n, size in sizes.items() if size < self.shard_size}
        return {
            shard: claims.get(shard.number, 0)
            for shard in self._shards
            if sizes.get(shard.number, 0) < shard.size and shard.number not in making
        }

    def _is_own(self, shard: Shard, num_claims: int) -> bool:
        """Whether it is in our share and free, or we claimed it in an earlier life."""
        if shard.number % self.num_workers != self.worker:
            return False
        return not num_claims or self._is_ours(self._ledger.claimant(shard, num_claims - 1)[0])

    def _is_ours(self, claimant: int | None) -> bool:
        return self.num_workers == 1 or claimant == self.worker

    def _by_age(self, rest: dict[Shard, int]) -> list[Shard]:
        return sorted(rest, key=lambda shard: self._ledger.claimant(shard, rest[shard] - 1)[1])

    def _had_its_time(self, shard: Shard, num_claims: int) -> bool:
        """Wait until the shard stands (False), or its claim is so old that a copy is fair (True)."""
        claimant, since = self._ledger.claimant(shard, num_claims - 1)
        if self._is_ours(claimant):
            return True
        while not self.is_finished(shard):
            with self._lock:
                patience = 2 * self._longest or _PATIENCE
            # The clocks of machines may differ a little: a copy too early or too late does no harm.
            if time.time() - since > patience:
                return True
            time.sleep(min(max(_POLL, patience / 50), _SLOWEST_POLL))
        return False

    def _take(self, shard: Shard, attempt: int) -> bool:
        if not self._ledger.claim(shard, attempt, self.worker):
            return False
        with self._lock:
            self._making[shard.number] = (attempt, time.monotonic())
        return True

    def _withdraw_short(self, shard: Shard) -> None:
        """Before a short shard is replaced: no one may be told of it with its old length."""
        if shard.number in self._short:
            self._ledger.withdraw(shard.number, self._short[shard.number])
        named = shard_lengths(self.directory)
        if named[shard.number : shard.number + 1] not in ([], [shard.size]):
            self._write_info(named[: shard.number])

    def _publish(self) -> None:
        """Name the longest run of finished shards, as far as others have not."""
        while True:  # Looks again after writing: who was slower must not say less.
            named = shard_lengths(self.directory)
            run = list(named)
            for shard in self._shards[len(named) :]:
                size = self._ledger.size(shard)
                # The next one does not begin where a short one, which may not be full yet, stops.
                if not size or (run and run[-1] < self.shard_size):
                    break
                run.append(size)
            if run == named:
                return
            self._write_info(run)

    def _write_info(self, lengths: list[int]) -> None:
        # Impressions take the same number of bytes each (from 128 classes on, to within one byte),
        # so that it need not be asked of every shard.
        each = self._ledger.num_bytes(0, lengths[0]) / lengths[0] if lengths else 0
        write_info(self.directory, self._metadata, lengths, round(each * sum(lengths)))
