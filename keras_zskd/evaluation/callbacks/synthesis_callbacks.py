"""All callbacks that monitor a synthesis, with one log directory."""

import os
from collections.abc import Sequence

from keras_zskd.evaluation.callbacks.class_balance import ClassBalance
from keras_zskd.evaluation.callbacks.impression_gallery import ImpressionGallery
from keras_zskd.evaluation.callbacks.summary_callback import SummaryCallback
from keras_zskd.evaluation.callbacks.target_confidence import TargetConfidence


def for_synthesis(
    log_dir: str | os.PathLike[str], class_names: Sequence[str] | None = None
) -> list[SummaryCallback]:
    """Create all callbacks that monitor a synthesis.

    Args:
        log_dir: Log directory of TensorBoard; each callback writes to its own subdirectory.
        class_names: Names of the classes, in the order of the teacher's outputs. Defaults to their
            indices.

    Returns:
        Callbacks for `ImpressionGenerator.generate`.

    Example:
        >>> [type(callback).__name__ for callback in for_synthesis("logs")]
        ['ImpressionGallery', 'TargetConfidence', 'ClassBalance']
    """
    return [
        ImpressionGallery(log_dir, class_names=class_names),
        TargetConfidence(log_dir),
        ClassBalance(log_dir, class_names=class_names),
    ]
