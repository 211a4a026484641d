"""`synthesize`: make impressions without a student."""

import os
from typing import Any

from keras_zskd.core.errors import invalid
from keras_zskd.core.workers import Cluster
from keras_zskd.jobs.estimating import check_needs
from keras_zskd.methods import Method, as_method
from keras_zskd.methods.synthesis_method import SynthesisMethod
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources


def synthesize(
    teacher: Teacher,
    output_dir: str,
    method: str | Method = "zskd",
    seed: int = 0,
    batch_size: int | None = None,
    records: str | os.PathLike[str] | None = None,
    verbose: int | str = "auto",
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Make the impressions of a method.

    Args:
        teacher: The teacher.
        output_dir: Directory of the impressions, which must be new, empty, or of the same call. May
            be `gs://bucket/impressions`.
        method: A method that stores impressions.
        seed: Seed of all random numbers.
        batch_size: Impressions per batch. Defaults to a size that suits the teacher.
        records: File of activation records of the teacher, for methods that need them; see `record`.
        verbose: As in `ImpressionGenerator.generate`.
        cluster: Workers on a Ray cluster that make the impressions; see `Cluster`.

    Returns:
        Number and directory of the impressions, method and seed.

    Raises:
        InputError: If the method stores no impressions, or cannot be used with this teacher.
    """
    method = as_method(method)
    if not isinstance(method, SynthesisMethod):
        raise invalid("method", "be one that stores impressions", method.name)
    resources = Resources(records=records)
    check_needs(method, teacher, resources)
    made = method.generator(teacher, resources).generate(
        method.num_impressions,
        output_dir,
        seed=seed,
        batch_size=batch_size,
        verbose=verbose,
        cluster=cluster,
    )
    return {
        "impressions": made.num_impressions,
        "directory": made.directory,
        "method": method.name,
        "seed": seed,
    }
