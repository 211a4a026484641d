"""Shards of a transfer set: their sizes, the workers that make them, and their state.

Workers share only a directory. The state of all shards is in the names of the files in `shards/`,
so one listing is sufficient:

    00042-1000.json     shard 42 is finished and has 1,000 impressions
    00042.claim0        a worker makes shard 42; the content is the number of the worker
    00042.claim1        another worker makes a copy, since the first took too long; and so on
    00042.1f3a90bc.part records being written

Requirements on the file system: only one of several exclusive creations of a file succeeds, and
replacing a file is atomic.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets

from keras_zskd.core.errors import InputError

# TFDS uses 5 digits for up to 99,999 shards, and 6 for more: another shard would rename all others.
MAX_SHARDS = 99_999

_FINISHED = re.compile(r"(\d{5})-(\d+)\.json")
_CLAIM = re.compile(r"(\d{5})\.claim(\d+)")
_PART = re.compile(r"(\d{5})\.[0-9a-f]{8}\.part")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Shard `number` of a transfer set: impressions `start` to `stop` (exclusive)."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of impressions."""
        return self.stop - self.start


def cut(num_impressions: int, shard_size: int) -> list[Shard]:
    """Cut `num_impressions` impressions into shards of `shard_size`; the last may be shorter.

    Raises:
        InputError: If there are more shards than TFDS supports.
    """
    count = -(-num_impressions // shard_size)
    if count > MAX_SHARDS:
        raise InputError(
            f"`num_impressions` must fit in {MAX_SHARDS} shards. Received: "
            f"num_impressions={num_impressions} in {count} shards of {shard_size}. Use several "
            "directories, or a new directory with larger shards."
        )
    starts = range(0, num_impressions, shard_size)
    return [
        Shard(number, start, min(start + shard_size, num_impressions))
        for number, start in enumerate(starts)
    ]


class Ledger:
    """The files in `shards/`: claims of workers and finished shards.

    Args:
        directory: Directory of the transfer set. `shards/` is created if missing.
        shard_size: Number of impressions in a full shard.

    Attributes:
        directory: Path of `shards/`.
    """

    def __init__(self, directory: str, shard_size: int):
        self.directory = os.path.join(directory, "shards")
        self._shard_size = shard_size
        os.makedirs(self.directory, exist_ok=True)

    def read(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return, by shard number, the impressions in finished shards and the number of claims."""
        sizes: dict[int, int] = {}
        claims: dict[int, int] = {}
        for name in os.listdir(self.directory):
            if match := _FINISHED.fullmatch(name):
                number, size = map(int, match.groups())
                sizes[number] = max(size, sizes.get(number, 0))
            elif match := _CLAIM.fullmatch(name):
                number, attempt = map(int, match.groups())
                claims[number] = max(attempt + 1, claims.get(number, 0))
        return sizes, claims

    def size(self, shard: Shard) -> int:
        """Return the number of finished impressions of a shard, 0 if too few. Needs no listing."""
        for size in (self._shard_size, shard.size):
            if os.path.exists(self._finished(shard.number, size)):
                return size
        return 0

    def claim(self, shard: Shard, attempt: int, worker: int) -> bool:
        """Claim a shard with `attempt` claims; return False if another worker was faster."""
        path = self._claim(shard.number, attempt)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(str(worker))
        except FileExistsError:
            return False
        # Claims of a finished shard are removed, so this must be checked after the claim.
        if self.size(shard):
            with contextlib.suppress(FileNotFoundError):  # Removed with the other claims.
                os.remove(path)
            return False
        return True

    def claimant(self, shard: Shard, attempt: int) -> tuple[int | None, float]:
        """Return worker (None if unknown) and time of a claim, in seconds since the epoch."""
        path = self._claim(shard.number, attempt)
        try:
            with open(path, encoding="utf-8") as file:
                worker = file.read()
                return (int(worker) if worker else None), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:  # Finished in the meantime, or removed by hand.
            return None, 0.0

    def part(self, shard: Shard) -> str:
        """Return a new path of a temporary file for the records of a shard."""
        return os.path.join(self.directory, f"{shard.number:05d}.{secrets.token_hex(4)}.part")

    def finish(self, shard: Shard, num_bytes: int, worker: int) -> None:
        """Mark a shard as finished, with `num_bytes` bytes of records, without framing."""
        said = {**dataclasses.asdict(shard), "bytes": num_bytes, "worker": worker}
        replace_text(self._finished(shard.number, shard.size), json.dumps(said))

    def withdraw(self, number: int, size: int) -> None:
        """Remove the mark that shard `number` is finished with `size` impressions."""
        _remove(self._finished(number, size))

    def release(self, shard: Shard, attempt: int) -> None:
        """Remove a claim and all earlier ones of the shard."""
        for earlier in range(attempt + 1):
            _remove(self._claim(shard.number, earlier))

    def num_bytes(self, number: int, size: int) -> int:
        """Return the bytes of records in a finished shard, without framing."""
        with open(self._finished(number, size), encoding="utf-8") as file:
            return int(json.load(file)["bytes"])

    def sweep(self) -> None:
        """Remove files of dead workers for shards that others finished."""
        sizes, _ = self.read()
        for name in os.listdir(self.directory):
            claim, part = _CLAIM.fullmatch(name), _PART.fullmatch(name)
            # Records of a short shard are kept: they may be about to replace it.
            if (claim and int(claim[1]) in sizes) or (
                part and sizes.get(int(part[1])) == self._shard_size
            ):
                _remove(os.path.join(self.directory, name))

    def _finished(self, number: int, size: int) -> str:
        return os.path.join(self.directory, f"{number:05d}-{size}.json")

    def _claim(self, number: int, attempt: int) -> str:
        return os.path.join(self.directory, f"{number:05d}.claim{attempt}")


def replace_text(path: str, text: str, exclusive: bool = False) -> None:
    """Write a file atomically: readers see either the whole new file or the old one.

    Args:
        path: Path of the file.
        text: Content of the file.
        exclusive: Whether to keep an existing file.
    """
    head, name = os.path.split(path)
    passing = os.path.join(head, f".{name}.{secrets.token_hex(4)}")
    try:
        with open(passing, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if not exclusive or not _link(passing, path):
            os.replace(passing, path)
            return
    except OSError:
        _remove(passing)
        raise
    _remove(passing)


def _link(passing: str, path: str) -> bool:
    """Link a file to `path` unless that exists; return whether `path` exists. Never replaces it."""
    try:
        os.link(passing, path)
    except FileExistsError:
        return True
    except OSError:  # No hard links, as on a mounted cloud drive: sufficient for one worker.
        return os.path.exists(path)
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
