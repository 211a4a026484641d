"""`TransferSetWriter`: several workers write the shards of one transfer set."""

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.inputs.shards import Ledger, Shard, cut, replace_text
from keras_zskd.inputs.tfds_files import records_path, write_info, write_records
from keras_zskd.inputs.transfer_set import (
    METADATA,
    TransferSet,
    shard_lengths,
)

# In seconds: polling intervals of a waiting worker, and how long it waits for the shard of another
# worker before it has made a shard itself and knows how long that takes.
_POLL, _SLOWEST_POLL = 0.2, 5.0
_PATIENCE = 60.0


class TransferSetWriter:
    """Writes a transfer set shard by shard, with any number of workers per directory.

    Shard k has impressions `k * shard_size` to `(k + 1) * shard_size`, whichever worker makes it.
    The directory is a valid dataset at all times. Each shard is written to a temporary file and
    renamed once complete, and dataset_info.json lists the finished shards up to the first
    unfinished one.

    Workers share only the directory (see `shards.py`). A worker that dies, or takes far longer than
    the others, does not block them: once nothing else is left, they make its unfinished shards
    again, as in MapReduce. Impressions do not depend on the worker, so both copies of a shard are
    equal, and either may be kept.

    Args:
        directory: Output directory, created if missing. An existing one must be empty or a transfer
            set. Several workers need a POSIX file system that all of them can access.
        metadata: Settings of the synthesis. Must equal those of an existing transfer set.
        shard_size: Number of impressions per shard in a new directory, 1 or more. An existing
            transfer set keeps its own.
        worker: Index of this worker, in [0, num_workers).
        num_workers: Number of workers that write to the directory, 1 or more.

    Attributes:
        shard_size: Shard size of the directory.

    Raises:
        InputError: If an argument is invalid, or the directory holds something else, impressions
            with other settings, or impressions of a version without equal shards.
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
            raise invalid("shard_size", "be 1 or more", shard_size)
        if not 0 <= worker < num_workers:
            raise InputError(
                "`worker` must be from 0 to `num_workers` - 1. Received: "
                f"worker={worker}, num_workers={num_workers}."
            )
        self.directory = os.fspath(directory)
        self.worker, self.num_workers = worker, num_workers
        metadata = json.loads(json.dumps(metadata))
        self._begin({**metadata, "shard_size": shard_size})
        self.shard_size = self._agree(metadata)
        self._metadata = metadata
        self._ledger = Ledger(self.directory, self.shard_size)
        self._shards: list[Shard] = []  # All shards of the latest call of claim(),
        self._short: dict[int, int] = {}  # and the sizes of short ones from before.
        # Shards claimed and not yet written by this object: number and time of the claim.
        self._making: dict[int, tuple[int, float]] = {}
        self._longest = 0.0
        self._lock = threading.Lock()

    @property
    def num_finished(self) -> int:
        """Number of finished impressions of all workers, in any shard. Needs a listing."""
        return sum(self._ledger.read()[0].values())

    def claim(self, num_impressions: int) -> Iterator[Shard]:
        """Yield the shards that this worker should make, each claimed on demand.

        First its own share, every `num_workers`-th shard; then unclaimed shards; then copies of
        shards that others have claimed and not finished, oldest claim first, each after twice the
        time that this worker needed itself. Ends when every shard is finished or claimed by this
        object: once the yielded shards are written, the transfer set is complete.

        Args:
            num_impressions: Total number of impressions in the directory. A short last shard of an
                earlier call is made again in full.

        Raises:
            InputError: If there are more shards than TFDS supports.
        """
        self._shards = cut(num_impressions, self.shard_size)
        while rest := self._rest():
            own = [shard for shard in rest if self._is_own(shard, rest[shard])]
            free = [shard for shard in rest if not rest[shard]]
            # Others may get here at the same time, so each worker starts at a different shard.
            turn = len(free) * self.worker // self.num_workers
            is_taken = False
            for shard in own or free[turn:] + free[:turn] or self._by_age(rest):
                if rest[shard] and not self._had_its_time(shard, rest[shard]):
                    continue
                if self._take(shard, rest[shard]):
                    is_taken = True
                    yield shard
                    if not own:
                        break  # The list is outdated by now.
            if not is_taken:
                time.sleep(_POLL)
        self._publish()
        self._ledger.sweep()

    def is_finished(self, shard: Shard) -> bool:
        """Whether the shard is already finished, for example by another worker."""
        return bool(self._ledger.size(shard))

    def write(self, shard: Shard, impressions: dict[str, np.ndarray]) -> None:
        """Write a complete shard, unless another worker has finished it.

        May run in another thread than `claim`.

        Args:
            shard: A shard yielded by `claim`.
            impressions: `image`, `target`, `label`, `logits` and `gap`, each `(shard.size, ...)`.

        Raises:
            ValueError: If the number of impressions is not the size of the shard.
            OSError, tf.errors.OpError: If writing fails, for example if the disk is full. The shard
                is then unfinished, and its temporary file is removed.
        """
        if len(impressions["image"]) != shard.size:
            raise ValueError(
                f"`impressions` must have {shard.size} examples for shard {shard.number}, from "
                f"{shard.start} to {shard.stop}. Received: {len(impressions['image'])} examples."
            )
        part = self._ledger.part(shard)
        try:
            num_bytes = write_records(part, impressions)
            if not self.is_finished(shard):
                self._withdraw_short(shard)
                os.replace(part, records_path(self.directory, shard.number))
                self._ledger.finish(shard, num_bytes, self.worker)
        except FileNotFoundError:
            if not self.is_finished(shard):  # Else another worker finished it and removed the file.
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
        """Make the directory a transfer set unless it is one; others may do so at the same time."""
        if os.path.lexists(self.directory):
            names = os.listdir(self.directory) if os.path.isdir(self.directory) else [""]
            if METADATA in names:
                return
            # Another worker that starts has at most a temporary file there.
            if any(not name.startswith(f".{METADATA}.") for name in names):
                raise InputError(
                    "`directory` must be new, empty or a transfer set. Received: "
                    f"directory={self.directory!r}, which holds something else."
                )
        os.makedirs(self.directory, exist_ok=True)
        path = os.path.join(self.directory, METADATA)
        replace_text(path, json.dumps(metadata, indent=1), exclusive=True)

    def _agree(self, metadata: dict[str, Any]) -> int:
        """Check `metadata` against the existing directory, and return its shard size."""
        standing = dict(TransferSet(self.directory).metadata)
        shard_size = standing.pop("shard_size", None)
        changed = sorted(k for k in {*standing, *metadata} if standing.get(k) != metadata.get(k))
        if changed:
            raise InputError(
                "`directory` must hold impressions with the same settings. Received: "
                f"directory={self.directory!r}, made in another way ({', '.join(changed)} differ). "
                "Choose another directory, or remove this one."
            )
        if shard_size is None:
            raise InputError(
                "`directory` must have shards of equal size. Received: "
                f"directory={self.directory!r} of an older version, which can be read but not "
                "extended. Choose another directory."
            )
        return int(shard_size)

    def _rest(self) -> dict[Shard, int]:
        """Return shards not finished and not claimed by this object, with numbers of claims."""
        with self._lock:  # Before the listing: shards written in between are in one of them.
            making = set(self._making)
        sizes, claims = self._ledger.read()
        self._short = {n: size for n, size in sizes.items() if size < self.shard_size}
        return {
            shard: claims.get(shard.number, 0)
            for shard in self._shards
            if sizes.get(shard.number, 0) < shard.size and shard.number not in making
        }

    def _is_own(self, shard: Shard, num_claims: int) -> bool:
        """Whether a shard is in this worker's share and free, or claimed by it before a restart."""
        if shard.number % self.num_workers != self.worker:
            return False
        return not num_claims or self._is_ours(self._ledger.claimant(shard, num_claims - 1)[0])

    def _is_ours(self, claimant: int | None) -> bool:
        return self.num_workers == 1 or claimant == self.worker

    def _by_age(self, rest: dict[Shard, int]) -> list[Shard]:
        return sorted(rest, key=lambda shard: self._ledger.claimant(shard, rest[shard] - 1)[1])

    def _had_its_time(self, shard: Shard, num_claims: int) -> bool:
        """Wait until the shard is finished (False) or its claim is old enough for a copy (True)."""
        claimant, since = self._ledger.claimant(shard, num_claims - 1)
        if self._is_ours(claimant):
            return True
        while not self.is_finished(shard):
            with self._lock:
                patience = 2 * self._longest or _PATIENCE
            # Clocks of machines may differ slightly: a copy too early or too late is harmless.
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
        """Remove the old length of a short shard everywhere, before it is replaced."""
        if shard.number in self._short:
            self._ledger.withdraw(shard.number, self._short[shard.number])
        named = shard_lengths(self.directory)
        if named[shard.number : shard.number + 1] not in ([], [shard.size]):
            self._write_info(named[: shard.number])

    def _publish(self) -> None:
        """List the finished shards up to the first unfinished one in dataset_info.json."""
        while True:  # Checks again after writing: a slower worker may have listed fewer.
            named = shard_lengths(self.directory)
            run = list(named)
            for shard in self._shards[len(named) :]:
                size = self._ledger.size(shard)
                # Nothing may follow a short shard, since the next one starts at full size.
                if not size or (run and run[-1] < self.shard_size):
                    break
                run.append(size)
            if run == named:
                return
            self._write_info(run)

    def _write_info(self, lengths: list[int]) -> None:
        # Impressions have the same number of bytes (to within one byte for 128 classes or more), so
        # only one shard is read.
        each = self._ledger.num_bytes(0, lengths[0]) / lengths[0] if lengths else 0
        write_info(self.directory, self._metadata, lengths, round(each * sum(lengths)))
