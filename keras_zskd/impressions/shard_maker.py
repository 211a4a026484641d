"""`ShardMaker`: makes shards of a transfer set, in this process or in a worker of a cluster."""

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from keras_zskd.core.errors import InputError
from keras_zskd.impressions.continuous_batch import ContinuousBatch
from keras_zskd.inputs.shard_assembly import ShardAssembly
from keras_zskd.inputs.shards import Shard, write_shard

# Impressions of each shard that a worker returns if there are callbacks to show them.
_NUM_SHOWN = 40

Finished = dict[str, np.ndarray]


class ShardMaker:
    """Makes whole shards, each as if it were the only one.

    The impressions of a shard therefore do not depend, bit for bit, on where it is made or on what
    is made before it.

    Args:
        batch: The batch that the impressions pass through.
        group_size: Number of consecutive impressions that belong together.
        directory: Directory of the transfer set, which its writer has created.
        seed: Seed of the impressions.
        unit: Number that batch sizes must be multiples of.
    """

    def __init__(
        self, batch: ContinuousBatch, group_size: int, directory: str, seed: int, unit: int = 1
    ):
        self.batch, self.seed = batch, seed
        self._group_size, self._directory, self._unit = group_size, directory, unit

    def run(
        self, shards: Sequence[Shard], on_written: Callable[[Shard], None]
    ) -> Generator[Finished | None, None, None]:
        """Make shards and write them.

        Args:
            shards: The shards, in this order.
            on_written: Called with each shard once it is written and marked as finished.

        Yields:
            See `ContinuousBatch.run`.

        Raises:
            InputError: If the directory cannot be written, the batch does not fit into memory, or
                the loss becomes NaN. Finished shards stay on disk.
        """

        def write(shard: Shard, impressions: Finished) -> None:
            write_shard(self._directory, shard, impressions)
            on_written(shard)

        assembly = ShardAssembly(shards, self._group_size, write)
        in_directory = writing(self._directory)  # As a decorator, it can be used many times.
        add, close = in_directory(assembly.add), in_directory(assembly.close)
        run = self._formed(self.batch.run(assembly.pieces(self.batch.size), self.seed))
        with at_the_end(close), contextlib.closing(run):
            for finished in run:
                if finished is not None:
                    if not np.isfinite(finished["gap"]).all():
                        raise self._diverged(finished)
                    add(finished)
                yield finished

    def _formed(
        self, run: Generator[Finished | None, None, None]
    ) -> Generator[Finished | None, None, None]:
        """Yield from `run`; running out of memory in it means that the batch is too large."""
        size = self.batch.size
        try:
            yield from run
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            if size <= self._unit:  # There is no smaller batch.
                raise
            raise InputError(
                f"`batch_size` must be small enough to fit into memory. Received: batch_size={size}, "
                f"which ran out of memory. Pass a smaller multiple of {self._unit}. Finished "
                "impressions are kept, and may be continued with another `batch_size`."
            ) from error

    def _diverged(self, finished: Finished) -> InputError:
        number = finished["index"][~np.isfinite(finished["gap"])].min()
        return InputError(
            f"The loss must be finite. It became NaN in impression {number}. Finished shards are kept "
            f"in {self._directory!r}. Lower the learning rate or the weights of the priors."
        )


class ShardWorker:
    """The job of a cluster worker: load the teacher and compile once, then make shards.

    Args:
        generator: The generator.
        directory: Directory of the transfer set.
        size: Number of impressions in a batch.
        seed: Seed of the impressions.
        is_watched: Whether to return impressions for callbacks.
    """

    def __init__(self, generator: Any, directory: str, size: int, seed: int, is_watched: bool):
        self._maker: ShardMaker = generator.maker(directory, size, seed)
        self._is_watched = is_watched

    def __call__(self, shard: Shard) -> tuple[dict[str, float], Finished]:
        """Make a shard; return its logs, and its first impressions if there are callbacks."""
        made = [part for part in self._maker.run([shard], lambda shard: None) if part is not None]
        shown = {
            name: np.concatenate([part[name] for part in made])[:_NUM_SHOWN] for name in made[0]
        }
        return mean_logs(made), shown if self._is_watched else {}


def mean_logs(parts: Sequence[Finished]) -> dict[str, float]:
    """Return the mean of each measure over the impressions."""
    names = ("gap", "cross_entropy", "confidence", "steps")
    return {name: float(np.concatenate([part[name] for part in parts]).mean()) for name in names}


@contextlib.contextmanager
def writing(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Turn system errors about the directory into an `InputError`."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            "`directory` must be a writable directory. Received: directory="
            f"{os.fspath(directory)!r}, with the system error: {error}. Finished impressions are "
            "kept. Remove the cause and repeat the call."
        ) from error


@contextlib.contextmanager
def at_the_end(close: Callable[[], None]) -> Iterator[None]:
    """Call `close` at the end in all cases; an error in it never replaces an earlier error."""
    try:
        yield
    except BaseException:
        try:
            close()
        except Exception as later:
            logging.error("%s", later)
        raise
    close()
