"""`distill`: turn a teacher into a deployable student."""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_zskd.core import progress
from keras_zskd.core.files import replacing
from keras_zskd.core.tables import estimate_table
from keras_zskd.core.workers import Cluster
from keras_zskd.deploy.costs import costs_of
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.evaluation.measures import all_logits, compare
from keras_zskd.evaluation.report.model_card import write_model_card
from keras_zskd.evaluation.report.page import write_report
from keras_zskd.evaluation.report.teacher_sections import similarity_sections
from keras_zskd.inputs.own_data import Data, name_of
from keras_zskd.jobs.choosing import choose
from keras_zskd.jobs.estimating import check_needs, estimate
from keras_zskd.jobs.exporting import exported
from keras_zskd.jobs.loading import load_test_data
from keras_zskd.methods import Method, as_method
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.resources import Resources
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Trained

_NUM_CALIBRATION = 2_000
# Runs that take longer, in seconds, are preceded by an estimate.
_WORTH_SAYING = 60.0
_FILES = (
    ("SavedModel", "student", "saved_model"),
    ("LiteRT float32", "student.tflite", "litert"),
    ("LiteRT int8", "student_int8.tflite", "litert_int8"),
)


@dataclasses.dataclass(frozen=True)
class Distilled:
    """The result of `distill`.

    Attributes:
        student: The trained student.
        directory: The run directory.
        record: The contents of RUN/run.json.
    """

    student: keras.Model
    directory: pathlib.Path
    record: dict[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """Results of teacher, student and int8 student: "rows", and the data "measured_on"."""
        results: dict[str, Any] = self.record["results"]
        return results


def distill(
    teacher: Teacher | keras.Model | str | os.PathLike[str],
    student: float | keras.Model | str | os.PathLike[str] = 0.5,
    method: str | Method = "best",
    output_dir: str | os.PathLike[str] = "run",
    *,
    seed: int = 0,
    training_dataset: Data | None = None,
    dataset: Data | None = None,
    data_dir: str | None = None,
    records: str | os.PathLike[str] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
    cluster: Cluster | None = None,
) -> Distilled:
    """Distill a trained classifier into a smaller, deployable one.

    The method trains the student. Then the student is exported and evaluated, and a report is
    written. The same call on the same directory resumes an interrupted run.

    Args:
        teacher: A `Teacher`, a Keras classifier, or the path of one. Input range and safe mode are
            arguments of `Teacher`.
        student: A width in (0, 1] for `slim`; a budget such as "200KB" of the float32 LiteRT file,
            "50kparams" or "1ms" per image here, for the widest copy within it; an architecture of
            `keras.applications` such as "mobilenet_v2", with random weights; a Keras classifier
            (a copy of it is trained), or the path of one.
        method: A name of `METHODS` or "package.module:Class", used with its default settings, or a
            `Method`.
        output_dir: The run directory, which must be new, empty, or of the same call. Its files:
            run.json, student.keras, student/ (SavedModel), student.tflite, student_int8.tflite,
            logs/ (TensorBoard), report.html, README.md (model card), and impressions/ if the
            method stores any.
        seed: Seed of all random numbers.
        training_dataset: Real, labeled training data, for methods that need it: a TFDS name, a folder
            with one subfolder of images per class, an .npz file, a pair of arrays, or a
            `tf.data.Dataset`; see `datasets.load`.
        dataset: Data in the same forms whose test split is used for evaluation, and for nothing else.
        data_dir: TFDS data directory. Defaults to `TFDS_DATA_DIR`.
        records: File of activation records of the teacher, for methods that need them; see `record`.
        callbacks: Callbacks for the training, as in Keras' `fit`.
        verbose: 0 for silence, 1 for progress bars, 2 for one line per epoch and per tenth of the
            impressions; "auto" is 1 in a terminal or a notebook, else 2.
        cluster: Workers on a Ray cluster that make the impressions; see `Cluster`. The student is
            trained in this process.

    Returns:
        The student, its results, and the directory.

    Raises:
        InputError: If an argument cannot be used. Finished stages are kept.
    """
    method = as_method(method)
    teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
    resources = Resources(training_dataset, data_dir, records, cluster)
    check_needs(method, teacher, resources)
    # Loaded first, so that a wrong name raises before the training.
    real = None if dataset is None else load_test_data(dataset, teacher, data_dir)
    chosen = choose(student, teacher, seed, output_dir)
    config = {"name": method.name, "config": method.get_config()}
    with Run(
        teacher, chosen.student, config, output_dir, seed, resources, callbacks, verbose
    ) as run:
        if chosen.facts:
            run.say(chosen.text)
            run.record.update(chosen=chosen.facts)
        if progress.resolved(verbose) and not run.record.run["stages"] and not method.sizes_itself:
            given = (training_dataset, data_dir, records)
            _say_estimate(run, estimate(teacher, chosen.student, method, seed, *given))
        trained = method.train(run)
        run.record.update(origin=trained.origin.as_json())
        _save(trained.student, run.directory / "student.keras")
        files = _export_all(trained, run)
        _measure(trained, files, dataset, real, run)
        sections = [*trained.sections(), *similarity_sections(teacher)]
        write_report(run.directory / "report.html", run.record.run, sections)
        write_model_card(run.directory / "README.md", run.record.run)
        return Distilled(trained.student, run.directory, run.record.run)


def _say_estimate(run: Run, found: dict[str, Any]) -> None:
    if found["seconds"] > _WORTH_SAYING:
        run.say(f"estimate from a measured part of each stage:\n{estimate_table(found)}")


def _save(student: keras.Model, path: pathlib.Path) -> None:
    """Save the student, unless an earlier call did."""
    if not path.exists():
        with replacing(path) as temporary:
            student.save(temporary)


def _export_all(trained: Trained, run: Run) -> dict[str, dict[str, Any]]:
    with run.record.timed("export", "export"):
        calibration = trained.inputs.images(_NUM_CALIBRATION)
        files = {
            name: exported(trained.student, run.directory / file, format, calibration, run.teacher)
            for name, file, format in _FILES
        }
    run.record.update(files=files)
    return files


def _measure(
    trained: Trained,
    files: dict[str, dict[str, Any]],
    dataset: Data | None,
    real: tuple[np.ndarray, np.ndarray] | None,
    run: Run,
) -> None:
    """Evaluate teacher, student and int8 student, and record the results."""
    images, labels = (trained.held_out, None) if real is None else real
    teacher, student, directory = run.teacher, trained.student, run.directory
    with run.record.timed("evaluation", "evaluation"), tempfile.TemporaryDirectory() as scratch:
        # The teacher is exported to LiteRT too, so that sizes and times are comparable.
        teacher_file = pathlib.Path(scratch) / "teacher.tflite"
        of_teacher = exported(teacher.model, teacher_file, "litert", None, teacher)
        int8_file = directory / "student_int8.tflite"
        rows: list[dict[str, Any]] = []
        fidelity: dict[str, float] = {}
        theirs = _logits_of(teacher, images, "teacher")
        for name, model, path, facts in (
            ("teacher", teacher, teacher_file, of_teacher),
            ("student", student, directory / "student.tflite", files["LiteRT float32"]),
            ("student int8", None, int8_file, files["LiteRT int8"]),
        ):
            file = None
            if "error" not in facts:
                file = LiteRTModel(path, is_multi_label=teacher.is_multi_label)
            measurable = file if model is None else model
            ours = theirs if model is teacher else _logits_of(measurable, images, "student")
            measured = {}
            if theirs is not None and ours is not None:
                measured = compare(theirs, ours, labels, teacher.is_multi_label)
            fidelity = measured if name == "student" else fidelity
            parameters = teacher.num_parameters if name == "teacher" else student.count_params()
            rows.append(_row(name, measured, teacher.score, parameters, file, facts))
    measured_on = (
        f"{len(images)} held-out {trained.origin.inputs}; on real inputs, accuracy is unknown, and "
        "agreement may be different"
    )
    if labels is not None:
        measured_on = f"{name_of(dataset)} (test, {len(images)} images)"
    run.record.update(results={"rows": rows, "measured_on": measured_on, "fidelity": fidelity})


def _logits_of(model: Any, images: np.ndarray, role: str) -> np.ndarray | None:
    return None if model is None or not len(images) else all_logits(model, images, role)


def _row(
    name: str,
    measured: dict[str, float],
    score: str,
    parameters: int,
    file: LiteRTModel | None,
    facts: dict[str, Any],
) -> dict[str, Any]:
    return {
        "model": name,
        score: measured.get(f"student_{score}"),
        "agreement": measured.get("agreement"),
        "parameters": parameters,
        **({"bytes": None, "ms_per_image": None} if file is None else costs_of(file)),
        **{key: value for key, value in facts.items() if key == "error"},
    }
