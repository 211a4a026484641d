"""What to watch in TensorBoard: impressions as they form, and fidelity while a student trains.

Ordinary Keras callbacks. Give all of them one `log_dir`: each writes into a directory of its own
below it, so that no two writers share one, and `tensorboard --logdir` of it shows them
side by side.
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
