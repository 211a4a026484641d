"""`quantize`: quantize a trained classifier without its data."""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_zskd.core.errors import invalid
from keras_zskd.core.input_range import nearest_allowed
from keras_zskd.deploy.costs import costs_of
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.distillation.family_choice import rate_families
from keras_zskd.evaluation.measures import evaluate
from keras_zskd.inputs.own_data import Data, name_of
from keras_zskd.inputs.procedural_pictures import ProceduralPictures
from keras_zskd.inputs.source import Arrays, Mixture
from keras_zskd.jobs.exporting import exported
from keras_zskd.jobs.loading import load_test_data
from keras_zskd.methods.best import IMPRESSION_SHARE, Best
from keras_zskd.methods.best_synthesis import best_generator
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources

_NUM_CALIBRATION = 500
# Name, file and format of the forms whose files are kept.
_FILES = (
    ("float32", "teacher.tflite", "litert"),
    ("float16 weights", "teacher_float16.tflite", "litert_float16"),
    ("int8 weights (dynamic range)", "teacher_dynamic.tflite", "litert_dynamic"),
    ("int8 weights, int16 activations", "teacher_int16x8.tflite", "litert_int16x8"),
    ("int8", "teacher_int8.tflite", "litert_int8"),
)


@dataclasses.dataclass(frozen=True)
class Quantized:
    """The result of `quantize`.

    Attributes:
        directory: The directory of the files.
        rows: A dict per form: "model", "file" (None if the form was only measured), "bytes",
            "ms_per_image", "agreement" with the teacher on held-out impressions, "accuracy" (None
            without data; "mean_average_precision" instead for a multi-label teacher), or "error" if
            the teacher cannot be converted to the form.
        measured_on: The data of the accuracies and agreements, in words.
    """

    directory: pathlib.Path
    rows: tuple[dict[str, Any], ...]
    measured_on: str


def quantize(
    teacher: Teacher | keras.Model | str | os.PathLike[str],
    output_dir: str | os.PathLike[str] = "quantized",
    *,
    num_impressions: int = 1_000,
    seed: int = 0,
    training_dataset: Data | None = None,
    dataset: Data | None = None,
    data_dir: str | None = None,
    verbose: int | str = "auto",
) -> Quantized:
    """Quantize a trained classifier as it is, without its data, and compare the forms.

    The ranges of the activations are measured on impressions and on procedural pictures, in the
    mixture that method `best` trains on. For comparison, int8 models calibrated on uniform noise
    and on real images, if there are any, are measured too; their files are not kept.

    Args:
        teacher: A `Teacher`, a Keras classifier, or the path of one.
        output_dir: Directory of the files: teacher.tflite (float32), teacher_float16.tflite,
            teacher_dynamic.tflite, teacher_int16x8.tflite, teacher_int8.tflite, and impressions/.
        num_impressions: Number of impressions, 2 or more. Half of them calibrate, and agreement is
            measured on the others.
        seed: Seed of all random numbers.
        training_dataset: Real, labeled training data to calibrate on for comparison; see `distill`.
        dataset: Data whose test split is used to measure accuracy, and for nothing else.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        verbose: As in `ImpressionGenerator.generate`.

    Returns:
        A row per form, and the directory of the files.

    Raises:
        InputError: If an argument cannot be used.
    """
    if num_impressions < 2:
        raise invalid(
            "num_impressions", "be 2 or more", num_impressions, fix="Leave it out for the default."
        )
    teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
    shape, value_range = teacher.input_shape, teacher.input_range
    # Loaded first, so that a wrong name raises before the synthesis.
    real = None if dataset is None else load_test_data(dataset, teacher, data_dir)
    noise = np.random.default_rng(seed).uniform(*value_range, (_NUM_CALIBRATION, *shape))
    noise = np.asarray(nearest_allowed(noise, value_range))
    compared = {"int8, calibrated on noise": noise.astype(np.float32)}
    if training_dataset is not None:
        resources = Resources(training_dataset, data_dir)
        images, _ = resources.images(_NUM_CALIBRATION, teacher, seed)
        compared["int8, calibrated on real images"] = images
    directory = pathlib.Path(output_dir)
    calibration, held_out = _synthetic(teacher, directory, num_impressions, seed, verbose)

    def measured(name: str, path: pathlib.Path, format: str, images: np.ndarray) -> dict[str, Any]:
        facts = exported(teacher.original, path, format, images, teacher)
        return {"model": name, **_measured(teacher, path, facts, held_out, real)}

    rows = [measured(n, directory / file, format, calibration) for n, file, format in _FILES]
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "teacher_int8.tflite"
        for name, images in compared.items():
            rows.append({**measured(name, path, "litert_int8", images), "file": None})
    measured_on = f"agreement on {len(held_out)} held-out impressions"
    if real is not None:
        score = teacher.score.replace("_", " ")
        measured_on = f"{score} on {name_of(dataset)} (test, {len(real[0])} images), {measured_on}"
    return Quantized(directory, tuple(rows), measured_on)


def _synthetic(
    teacher: Teacher, directory: pathlib.Path, count: int, seed: int, verbose: int | str
) -> tuple[np.ndarray, np.ndarray]:
    """Return images for calibration, and held-out impressions."""
    shares = rate_families(teacher).shares()
    made = best_generator(teacher, shares, Best()).generate(
        count, directory / "impressions", seed=seed, verbose=verbose
    )
    impressions = made.arrays()["image"]
    pictures = ProceduralPictures(teacher.input_shape, teacher.input_range, shares)
    mixture = Mixture(
        (Arrays(impressions[: count // 2]), pictures),
        (IMPRESSION_SHARE, 1.0 - IMPRESSION_SHARE),
    )
    return mixture.images(_NUM_CALIBRATION), impressions[count // 2 :]


def _measured(
    teacher: Teacher,
    path: pathlib.Path,
    facts: Mapping[str, Any],
    held_out: np.ndarray,
    real: tuple[np.ndarray, np.ndarray] | None,
) -> dict[str, Any]:
    """Return the entries of a row, for an exported file."""
    if "error" in facts:
        return {"file": None, "error": facts["error"]}
    file = LiteRTModel(path, is_multi_label=teacher.is_multi_label)
    measured = {} if real is None else evaluate(teacher, file, *real)
    return {
        "file": path.name,
        **costs_of(file),
        "agreement": evaluate(teacher, file, held_out)["agreement"],
        teacher.score: measured.get(f"student_{teacher.score}"),
    }
