"""keras_zskd: distill a trained Keras classifier into a smaller one, without its data."""

from importlib.metadata import PackageNotFoundError, version

# Imported eagerly: Keras finds a layer of a saved model, such as LocalResponseNormalization, only
# if its module has been imported, and users expect `import keras_zskd` to be enough.
from keras_zskd.core.errors import InputError
from keras_zskd.core.workers import Cluster
from keras_zskd.deploy.formats import ExportResult, export
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.distillation.augmentation import Augmentation, Mixup, Mosaic, RandomAffine
from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.losses import distillation_loss, hard_label_loss
from keras_zskd.distillation.paper_augmentation import PaperAugmentation
from keras_zskd.evaluation import callbacks, metrics
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.impressions.canvas import BlobCanvas, Canvas, PictureCanvas, UniformCanvas
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.impressions.objectives import ClassLogit, MatchTargets, Objective
from keras_zskd.impressions.priors import BatchNormStatistics, PixelNorm, Prior, TotalVariation
from keras_zskd.impressions.targets import DirichletTargets, OneHotTargets, Targets
from keras_zskd.impressions.transforms import AffineJitter, Jitter, Transform
from keras_zskd.inputs import datasets
from keras_zskd.inputs.procedural_pictures import ProceduralPictures
from keras_zskd.inputs.source import Arrays, Mixture, Noise, Source
from keras_zskd.inputs.transfer_set import TransferSet
from keras_zskd.jobs.distilling import Distilled, distill
from keras_zskd.jobs.quantizing import Quantized, quantize
from keras_zskd.jobs.recording import record
from keras_zskd.jobs.training import train
from keras_zskd.methods import METHODS, Method
from keras_zskd.models import (
    alexnet,
    alexnet_half,
    lenet5,
    lenet5_half,
    repair_batch_norms,
    resnet20,
    start_from,
)
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher, load_model
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

try:
    __version__ = version("keras-zskd")
except PackageNotFoundError:  # A source tree that is not installed.
    __version__ = "unknown"

__all__ = [
    "METHODS",
    "AffineJitter",
    "Arrays",
    "Augmentation",
    "BatchNormStatistics",
    "BlobCanvas",
    "Canvas",
    "ClassLogit",
    "Cluster",
    "DirichletTargets",
    "Distilled",
    "Distiller",
    "ExportResult",
    "ImpressionGenerator",
    "InputError",
    "Jitter",
    "LiteRTModel",
    "MatchTargets",
    "Method",
    "Mixture",
    "Mixup",
    "Mosaic",
    "Noise",
    "Objective",
    "OneHotTargets",
    "Origin",
    "PaperAugmentation",
    "PictureCanvas",
    "PixelNorm",
    "Prior",
    "ProceduralPictures",
    "Quantized",
    "RandomAffine",
    "Run",
    "Source",
    "Targets",
    "Teacher",
    "TotalVariation",
    "TransferSet",
    "Trained",
    "Transform",
    "UniformCanvas",
    "alexnet",
    "alexnet_half",
    "callbacks",
    "datasets",
    "distill",
    "distillation_loss",
    "evaluate",
    "export",
    "hard_label_loss",
    "lenet5",
    "lenet5_half",
    "load_model",
    "metrics",
    "quantize",
    "record",
    "repair_batch_norms",
    "resnet20",
    "slim",
    "start_from",
    "train",
]
