"""Shards: where a transfer set is cut, who makes which shard, and which are finished.

All that workers share is a directory. Everything is said by the names of files in its `shards/`,
so that one listing tells it all:

    00042-1000.json     shard 42 is finished and holds 1,000 impressions
    00042.claim0        a worker makes shard 42; what it holds is the worker's number
    00042.claim1        another worker makes a copy, as the first took too long; and so on
    00042.1f3a90bc.part records being written

Only two things are asked of the file system: of all who create a file exclusively one succeeds, and
a file is replaced at once or not at all.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets

from keras_zskd.core.errors import InputError

# TFDS writes the numbers of up to 99,999 shards with 5 digits, and of more with 6: another shard
# would rename all others.
MAX_SHARDS = 99_999

_FINISHED = re.compile(r"(\d{5})-(\d+)\.json")
_CLAIM = re.compile(r"(\d{5})\.claim(\d+)")
_PART = re.compile(r"(\d{5})\.[0-9a-f]{8}\.part")


@dataclasses.dataclass(frozen=True)
class Shard:
    """Impressions `start` to `stop` (exclusive), the `number`-th piece of a transfer set."""

    number: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many impressions it holds."""
        return self.stop - self.start


def cut(num_impressions: int, shard_size: int) -> list[Shard]:
    """The shards of `num_impressions` impressions: all of `shard_size`, but for a last, shorter one.

    Raises:
        InputError: If there would be more shards than TFDS can name.
    """
    count = -(-num_impressions // shard_size)
    if count > MAX_SHARDS:
        raise InputError(
            f"{num_impressions} impressions in shards of {shard_size} were received, which makes "
            f"{count} shards; expected at most {MAX_SHARDS}, so write them to several directories, "
            "or to a new one with larger shards."
        )
    starts = range(0, num_impressions, shard_size)
    return [
        Shard(number, start, min(start + shard_size, num_impressions))
        for number, start in enumerate(starts)
    ]


class Ledger:
    """The files in `shards/`: claims of workers, and finished shards.

    Args:
        directory: That of the transfer set; `shards/` is made if missing.
        shard_size: Impressions in a full shard.

    Attributes:
        directory: `shards/`.
    """

    def __init__(self, directory: str, shard_size: int):
        self.directory = os.path.join(directory, "shards")
        self._shard_size = shard_size
        os.makedirs(self.directory, exist_ok=True)

    def read(self) -> tuple[dict[int, int], dict[int, int]]:
        """By the number of the shard: impressions in finished ones, claims made so far."""
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
        """Impressions that stand of a shard, if no fewer than it asks for, else 0. No listing."""
        for size in (self._shard_size, shard.size):
            if os.path.exists(self._finished(shard.number, size)):
                return size
        return 0

    def claim(self, shard: Shard, attempt: int, worker: int) -> bool:
        """Claim a shard that has `attempt` claims; False if another was faster, or has finished."""
        path = self._claim(shard.number, attempt)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(str(worker))
        except FileExistsError:
            return False
        # Who finishes a shard removes its claims, so only now is this certain.
        if self.size(shard):
            with contextlib.suppress(FileNotFoundError):  # Removed with the others, then.
                os.remove(path)
            return False
        return True

    def claimant(self, shard: Shard, attempt: int) -> tuple[int | None, float]:
        """Worker of a claim (None: not known) and time of the claim, in seconds since the epoch."""
        path = self._claim(shard.number, attempt)
        try:
            with open(path, encoding="utf-8") as file:
                worker = file.read()
                return (int(worker) if worker else None), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:  # Finished by now, or removed by hand.
            return None, 0.0

    def part(self, shard: Shard) -> str:
        """A new passing name for the records of a shard."""
        return os.path.join(self.directory, f"{shard.number:05d}.{secrets.token_hex(4)}.part")

    def finish(self, shard: Shard, num_bytes: int, worker: int) -> None:
        """Say that the records of a shard stand: `num_bytes` in them, framing not counted."""
        said = {**dataclasses.asdict(shard), "bytes": num_bytes, "worker": worker}
        replace_text(self._finished(shard.number, shard.size), json.dumps(said))

    def withdraw(self, number: int, size: int) -> None:
        """Take back that shard `number` is finished with `size` impressions."""
        _remove(self._finished(number, size))

    def release(self, shard: Shard, attempt: int) -> None:
        """Remove a claim and those before it."""
        for earlier in range(attempt + 1):
            _remove(self._claim(shard.number, earlier))

    def num_bytes(self, number: int, size: int) -> int:
        """Bytes of records in a finished shard, framing not counted."""
        with open(self._finished(number, size), encoding="utf-8") as file:
            return int(json.load(file)["bytes"])

    def sweep(self) -> None:
        """Remove what dead workers left of shards that others finished."""
        sizes, _ = self.read()
        for name in os.listdir(self.directory):
            claim, part = _CLAIM.fullmatch(name), _PART.fullmatch(name)
            # The records of a short shard may be those that will replace it.
            if (claim and int(claim[1]) in sizes) or (
                part and sizes.get(int(part[1])) == self._shard_size
            ):
                _remove(os.path.join(self.directory, name))

    def _finished(self, number: int, size: int) -> str:
        return os.path.join(self.directory, f"{number:05d}-{size}.json")

    def _claim(self, number: int, attempt: int) -> str:
        return os.path.join(self.directory, f"{number:05d}.claim{attempt}")


def replace_text(path: str, text: str, exclusive: bool = False) -> None:
    """Write a file at once: whoever reads it sees all of it, or what stood before.

    Args:
        path: Of the file.
        text: What it should hold.
        exclusive: Whether a file that stands is left as it is.
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
    """Whether a file has its name, or another has it: a link never replaces, as a rename does."""
    try:
        os.link(passing, path)
    except FileExistsError:
        return True
    except OSError:  # No links here, as on a mounted cloud drive: good enough for one worker.
        return os.path.exists(path)
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
