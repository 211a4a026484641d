"""Callbacks for TensorBoard that monitor the synthesis and the fidelity of a student in training.

These are Keras callbacks. Pass the same `log_dir` to all of them: each writes to its own
subdirectory, so that no two writers share one, and `tensorboard --logdir` shows all of them.
"""

from keras_zskd.evaluation.callbacks.class_balance import ClassBalance
from keras_zskd.evaluation.callbacks.held_out_agreement import HeldOutAgreement
from keras_zskd.evaluation.callbacks.impression_gallery import ImpressionGallery
from keras_zskd.evaluation.callbacks.summary_callback import SummaryCallback
from keras_zskd.evaluation.callbacks.synthesis_callbacks import for_synthesis
from keras_zskd.evaluation.callbacks.target_confidence import TargetConfidence

__all__ = [
    "for_synthesis",
    "ImpressionGallery",
    "TargetConfidence",
    "ClassBalance",
    "HeldOutAgreement",
    "SummaryCallback",
]
