"""The whole of it: teacher in, deployable student out; every stage resumable."""

import dataclasses
import os
import pathlib
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd import callbacks, datasets, models, resumable
from keras_zskd.batches import steps_of, stream
from keras_zskd.distillation.distiller import Distiller, check_student
from keras_zskd.errors import InputError
from keras_zskd.evaluation.attention import attention_maps
from keras_zskd.evaluation.evaluate import evaluate
from keras_zskd.evaluation.model_card import write_model_card
from keras_zskd.evaluation.report import write_report
from keras_zskd.export import FormatError, export
from keras_zskd.graph import clone_layer, fingerprint
from keras_zskd.impressions.transfer_set import TransferSet
from keras_zskd.litert import LiteRTModel
from keras_zskd.methods import METHODS, Recipe, get_recipe
from keras_zskd.metrics import TeacherAgreement
from keras_zskd.run_record import RunRecord
from keras_zskd.teacher import Teacher, load_model

_HELD_OUT = 1_000
_REPORTED = 1_000
_EXPLAINED = 8


def distill(
    teacher: Teacher | keras.Model | str | os.PathLike[str],
    student: float | keras.Model | str | os.PathLike[str] = 0.5,
    method: str = "zskd",
    output_dir: str | os.PathLike[str] = "run",
    *,
    preset: str = "default",
    num_impressions: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    input_range: tuple[float, float] | None = None,
    training_dataset: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    unsafe: bool = False,
    verbose: int | str = "auto",
) -> dict[str, Any]:
    """Turn a trained classifier into a smaller one that deploys.

    Synthesises impressions, trains the student on them, exports it, measures it, and writes a report.
    The same call on the same directory goes on where an interrupted one stopped.

    Args:
        teacher: A `Teacher`, a Keras classifier, or the path of one.
        student: A width in (0, 1] for `slim`, a Keras classifier (a copy of it is trained), or a path.
        method: A name of `METHODS`.
        output_dir: The run directory; new, empty, or of the same call. DESIGN of its files:
            run.json, impressions/, student.keras, student/ (SavedModel), student.tflite,
            student_int8.tflite, logs/ (TensorBoard), report.html, README.md (model card).
        preset: "default" or "paper".
        num_impressions: How many; default: the recipe's.
        epochs: Of the training; default: the recipe's.
        seed: Of everything random.
        input_range: `(low, high)` of the teacher's pixels; see `Teacher`.
        training_dataset: TFDS name of real, labelled training data, for methods that need it.
        dataset: TFDS name of a data set to measure on, its test split. Never used for anything else.
        data_dir: Where TFDS finds its data; default: `TFDS_DATA_DIR`.
        unsafe: Whether model files may hold Lambda layers.
        verbose: As in Keras' `fit`.

    Returns:
        What RUN/run.json holds; `run["results"]["rows"]` is the table.

    Raises:
        InputError: For whatever the caller can mend; finished stages stay on disk.
    """
    recipe = get_recipe(method, preset)
    for name, value in (("num_impressions", num_impressions), ("epochs", epochs)):
        if value is not None and value < 1:
            raise InputError(f"{name}={value} was received; expected 1 or more.")
    count = num_impressions or recipe.num_impressions
    epochs = epochs or recipe.epochs
    if METHODS[method].needs_data and not training_dataset:
        raise InputError(
            f"Method {method!r} needs {METHODS[method].needs}; name it with --training_dataset "
            "(in Python: training_dataset=)."
        )
    teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher, input_range, unsafe)
    real = None
    if dataset is not None:  # Read first: a wrong name should not wait for the synthesis.
        real = datasets.load(dataset, "test", teacher.input_shape, teacher.input_range, data_dir)
    keras.utils.set_random_seed(seed)
    learner = _student(teacher, student, unsafe)
    record = RunRecord(
        output_dir,
        {
            "method": method,
            "preset": preset,
            "seed": seed,
            "num_impressions": count if recipe.synthesis else 0,
            "epochs": epochs,
            "student": learner.count_params(),
            "student_fingerprint": fingerprint(learner),
            "teacher": teacher.describe(),
            "teacher_fingerprint": fingerprint(teacher.model),
            "training_dataset": training_dataset,
        },
    )
    impressions = None
    if recipe.synthesis is not None:
        impressions = _synthesize(teacher, recipe, count, seed, record, verbose)
    inputs = _inputs(teacher, impressions, training_dataset, data_dir)
    _train(teacher, learner, recipe, inputs, epochs, record, verbose)
    _measure(teacher, learner, inputs, dataset, real, record)
    _report(teacher, learner, impressions, record)
    return record.run


def _student(teacher: Teacher, student: Any, unsafe: bool) -> keras.Model:
    """The untrained student, checked against the teacher."""
    if isinstance(student, bool | int | float):
        student = models.slim(teacher.original, float(student))
    elif isinstance(student, str | os.PathLike):
        student = load_model(student, unsafe=unsafe)
    check_student(teacher, student)
    # The caller's model stays as it is, and the same call again is for the same student.
    copy = keras.models.clone_model(student, clone_function=clone_layer)
    copy.set_weights(student.get_weights())
    return copy


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """What the student learns from, and what is kept from it.

    Attributes:
        seen: Arrays for `batches`.
        held_out: `(N, *input_shape)`, never trained on and not of a test split.
        calibration: What int8 is calibrated on.
        kind: "impressions" or "training images".
    """

    seen: Any
    held_out: np.ndarray
    calibration: Any
    kind: str


def _inputs(
    teacher: Teacher,
    impressions: TransferSet | None,
    training_dataset: str | None,
    data_dir: str | None,
) -> _Inputs:
    """The one split into what is seen and what is held out."""
    if impressions is None:
        x, y = datasets.load(
            training_dataset or "", "train", teacher.input_shape, teacher.input_range, data_dir
        )
        seen = len(x) - _num_held_out(len(x))
        return _Inputs((x[:seen], y[:seen]), x[seen:], x[seen:], "training images")
    total = impressions.num_impressions
    seen = total - _num_held_out(total)
    arrays = impressions.part(0, seen, "image", "logits")
    return _Inputs(arrays, impressions.images(seen, total), impressions, "impressions")


def _num_held_out(total: int) -> int:
    return min(_HELD_OUT, total // 10)


def _synthesize(
    teacher: Teacher, recipe: Recipe, count: int, seed: int, record: RunRecord, verbose: Any
) -> TransferSet:
    assert recipe.synthesis is not None  # noqa: S101 - for the type checker; the caller looked
    generator = recipe.synthesis(teacher)
    logs = str(record.directory / "logs")
    with record.timed("synthesis", num_impressions=count, config=generator.get_config()):
        return generator.generate(
            count,
            record.directory / "impressions",
            seed=seed,
            callbacks=callbacks.for_synthesis(logs),
            verbose=verbose,
        )


def _train(
    teacher: Teacher,
    student: keras.Model,
    recipe: Recipe,
    inputs: _Inputs,
    epochs: int,
    record: RunRecord,
    verbose: Any,
) -> None:
    path = record.directory / "student.keras"
    if path.exists():
        # Weights only: the layers are the caller's, and no code is read from the file.
        student.load_weights(path)
        return
    logs = str(record.directory / "logs" / "distillation")
    watching: list[Any] = [keras.callbacks.TensorBoard(logs), keras.callbacks.TerminateOnNaN()]
    if len(inputs.held_out):
        watching.insert(0, callbacks.HeldOutAgreement(inputs.held_out, teacher))
    seed, count = record.run["seed"], len(keras.tree.flatten(inputs.seen)[0])
    steps, steps_at_once = steps_of(count, recipe.batch_size)
    rate: Any = recipe.learning_rate
    if recipe.decay:
        rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, epochs * steps)
    distiller = Distiller(
        teacher,
        student,
        temperature=recipe.temperature,
        hard_label_weight=recipe.hard_label_weight,
        augmentations=recipe.augmentations(),
        seed=seed,
    )
    # Several steps in one call, which Keras 3.15 cannot under several replicas.
    is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    distiller.compile(
        optimizer=keras.optimizers.Adam(rate),
        metrics=[TeacherAgreement()],
        steps_per_execution=steps_at_once if is_alone else 1,
    )
    with record.timed("distillation", config=_training_config(recipe, epochs)):
        state = record.directory / ".training"
        history = resumable.fit(
            distiller,
            lambda step: stream(inputs.seen, recipe.batch_size, seed, step),
            epochs,
            steps,
            state,
            callbacks=watching,
            verbose=verbose,
        )
        losses = history["loss"]
        if not np.isfinite(losses[-1:]).all():
            resumable.remove(state)
            raise InputError(
                f"The loss of the student became NaN in epoch {len(losses)}; the impressions are "
                "kept, so lower the learning rate, or check the student's initialisation."
            )
        _save(student, path)
    record.update("distillation", history=history)
    resumable.remove(state)


def _save(student: keras.Model, path: pathlib.Path) -> None:
    """Save under a passing name first: a file that stands is a finished file."""
    beside = path.with_name(f".{path.name}")
    try:
        student.save(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _training_config(recipe: Recipe, epochs: int) -> dict[str, Any]:
    return {
        "temperature": recipe.temperature,
        "hard_label_weight": recipe.hard_label_weight,
        "batch_size": recipe.batch_size,
        "learning_rate": recipe.learning_rate,
        "decay": recipe.decay,
        "epochs": epochs,
        "augmentations": [
            keras.saving.serialize_keras_object(item) for item in recipe.augmentations()
        ],
    }


def _measure(
    teacher: Teacher,
    student: keras.Model,
    inputs: _Inputs,
    dataset: str | None,
    real: tuple[np.ndarray, np.ndarray] | None,
    record: RunRecord,
) -> None:
    """Export the student, then put teacher, student and int8 student side by side."""
    directory = record.directory
    images, labels = (inputs.held_out, None) if real is None else real
    with record.timed("export"):
        files = {
            name: _exported(student, directory / file, format, inputs.calibration, teacher)
            for name, file, format in (
                ("SavedModel", "student", "saved_model"),
                ("LiteRT float32", "student.tflite", "litert"),
                ("LiteRT int8", "student_int8.tflite", "litert_int8"),
            )
        }
    record.update("export", files=files)
    with record.timed("evaluation"), tempfile.TemporaryDirectory() as scratch:
        # The teacher as a LiteRT file, so that sizes and times are of one kind.
        teacher_file = pathlib.Path(scratch) / "teacher.tflite"
        rows: list[dict[str, Any]] = []
        fidelity: dict[str, float] = {}
        for name, model, path, facts in (
            (
                "teacher",
                teacher,
                teacher_file,
                _exported(teacher.model, teacher_file, "litert", None, teacher),
            ),
            ("student", student, directory / "student.tflite", files["LiteRT float32"]),
            ("student int8", None, directory / "student_int8.tflite", files["LiteRT int8"]),
        ):
            file = None if "error" in facts else LiteRTModel(path)
            measurable = file if model is None else model
            is_measured = measurable is not None and len(images) > 0
            measured = evaluate(teacher, measurable, images, labels) if is_measured else {}
            fidelity = measured if name == "student" else fidelity
            parameters = teacher.num_parameters if name == "teacher" else student.count_params()
            rows.append(_row(name, measured, parameters, file, facts))
    kept = f"{len(images)} held-out {inputs.kind}"
    record.update(
        "results",
        rows=rows,
        measured_on=f"{dataset} (test, {len(images)} images)"
        if labels is not None
        else f"{kept}; accuracy is not known without data",
        fidelity=fidelity,
    )


def _exported(
    model: keras.Model, path: pathlib.Path, format: str, calibration: Any, teacher: Teacher
) -> dict[str, Any]:
    """What became of a file: facts, or the "error" where the model has no such form."""
    try:
        result = export(model, path, format, calibration, teacher.input_range)
    except FormatError as error:
        path.unlink(missing_ok=True)  # Of an earlier call, before the student changed.
        return {"file": path.name, "error": str(error)}
    facts = dataclasses.asdict(result)
    return {"file": path.name, **{k: v for k, v in facts.items() if k not in ("path", "format")}}


def _row(
    name: str,
    measured: dict[str, float],
    parameters: int,
    file: LiteRTModel | None,
    facts: dict[str, Any],
) -> dict[str, Any]:
    return {
        "model": name,
        "accuracy": measured.get("student_accuracy"),
        "agreement": measured.get("agreement"),
        "parameters": parameters,
        "bytes": None if file is None else os.path.getsize(file.path),
        "ms_per_image": None if file is None else file.milliseconds_per_image(),
        **{key: value for key, value in facts.items() if key == "error"},
    }


def _report(
    teacher: Teacher, student: keras.Model, impressions: TransferSet | None, record: RunRecord
) -> None:
    arrays = impressions.arrays(limit=_REPORTED) if impressions is not None else None
    attention: Any = None
    if arrays is not None and len(teacher.input_shape) == 3:
        try:
            attention = attention_maps(
                {"teacher": teacher.model, "student": student},
                arrays["image"][:_EXPLAINED],
                arrays["logits"][:_EXPLAINED].argmax(-1),
            )
        except Exception as error:  # A picture that fails must not cost a finished student.
            attention = f"{type(error).__name__}: {error}"
    write_report(
        record.directory / "report.html", record.run, arrays, teacher.input_range, attention
    )
    write_model_card(record.directory / "README.md", record.run)
