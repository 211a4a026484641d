"""`Distiller`: trains a student on impressions or real data with `fit` of Keras."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.core.input_range import as_json, nearest_allowed
from keras_zskd.core.keras_internals import loss_tracker, policy_for_training
from keras_zskd.core.predictions import as_choices
from keras_zskd.core.processor import has_gpu
from keras_zskd.core.workers import refuse_several_machines
from keras_zskd.distillation.augmentation import Augmentation
from keras_zskd.distillation.features import FeatureMatch
from keras_zskd.distillation.losses import distillation_loss, hard_label_loss, label_set_loss
from keras_zskd.distillation.replicas import count_everywhere, draw_seed, synchronized
from keras_zskd.distillation.student_check import check_student
from keras_zskd.models.arithmetic import UPDATE
from keras_zskd.models.lowering.plan import compiles_well
from keras_zskd.models.teacher import Teacher, restored_teacher

# Names of the accuracy metric in Keras.
_ACCURACY = ("accuracy", "acc")


@keras.saving.register_keras_serializable(package="keras_zskd")
class Distiller(keras.Model):
    """Trains a student to match its teacher.

    `L = KD(teacher, student; tau) + lambda * CE(labels, student) + sum of feature losses`
    (paper, equation 1). Impressions have no labels, so lambda has no effect: the paper drops the
    term. On real data with labels and `hard_label_weight > 0` this is Hinton's distillation.

    `fit` and `evaluate` accept these batches:

    * images `(N, ...)` or `{"image": images}`: the teacher runs inside the step;
    * `{"image": images, "logits": logits}`: the teacher's logits were computed in advance. They are
      used if there is no augmentation; else the teacher runs on the augmented images;
    * `(x, labels)` or `(x, labels, sample_weight)`, with integer labels `(N,)`, or sets of labels
      `(N, K)` of zeros and ones for a multi-label teacher.

    Metrics passed to `compile`, including "mse", compare `(teacher_logits, student_logits)`. For a
    multi-label teacher these have shape `(N, K, 2)`, with two classes per label: absent and
    present. If there are labels, the student's accuracy against them, weighted by `sample_weight`,
    is logged as `accuracy`; `metrics=["accuracy"]` requires labels.

    The loss is divided by the number of examples over all replicas, so updates and logs do not
    depend on the number of replicas, even for a smaller last batch. The batch statistics of the
    student's `BatchNormalization` layers are also over the examples of all replicas, each with the
    same weight; the student is saved with its original configuration. Subclasses of that layer and
    layers with a mask behave as without a `Distiller`: each replica uses its own examples.

    Args:
        teacher: A `Teacher` or a Keras classifier.
        student: A Functional or Sequential classifier with the teacher's number of classes and
            input shape, ending in logits or softmax. It is trained in place.
        temperature: `tau` of the distillation, positive. Defaults to 20, as in the paper.
        hard_label_weight: `lambda` of the hard-label term, 0 or more. Defaults to 0.
        augmentations: Augmentations of the training images, applied in order inside the compiled
            step.
        distillation_losses: Additional `keras.distillation.DistillationLoss` objects: a
            `FeatureDistillation` with layer names, or a custom loss on logits.
        distillation_loss_weights: One weight per additional loss. Defaults to 1.
        seed: Seed of the augmentations, 0 or more. Their draws are a function of the seed, the step
            and the replica.

    Attributes:
        student_logits: The student as a model that returns logits, even if it ends in softmax.
        feature_scale: Variable with a factor of all additional losses, 1 at first. A callback may
            change it during the training. It is not saved.

    Raises:
        InputError: If teacher and student do not match.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> distiller = Distiller(Teacher(model, (0, 1)), keras.models.clone_model(model))
        >>> distiller.compile(optimizer="adam")
        >>> history = distiller.fit(tf.random.uniform((8, 4)), verbose=0)
        >>> sorted(history.history)
        ['loss']
    """

    train_function: Any  # Set by Keras; mypy cannot infer its type.

    def __init__(
        self,
        teacher: Teacher | keras.Model,
        student: keras.Model,
        temperature: float = 20.0,
        hard_label_weight: float = 0.0,
        augmentations: Sequence[Augmentation] = (),
        distillation_losses: Sequence[Any] = (),
        distillation_loss_weights: Sequence[float] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        refuse_several_machines(tf.distribute.get_strategy())
        if not temperature > 0:
            raise invalid("temperature", "be positive", temperature)
        if not hard_label_weight >= 0:
            raise invalid("hard_label_weight", "be 0 or more", hard_label_weight)
        teacher = teacher if isinstance(teacher, Teacher) else Teacher(teacher)
        view = check_student(teacher, student)
        super().__init__(dtype=policy_for_training(student), **kwargs)
        self.teacher = teacher
        # Tracked, so that a loaded Distiller continues with the same teacher.
        self.teacher_model = teacher.model
        self.student = student
        self.temperature = float(temperature)
        self.hard_label_weight = float(hard_label_weight)
        self.augmentations = tuple(augmentations)
        self.distillation_losses = tuple(distillation_losses)
        weights = distillation_loss_weights
        weights = (1.0,) * len(distillation_losses) if weights is None else tuple(weights)
        if len(weights) != len(self.distillation_losses):
            raise InputError(
                "`distillation_loss_weights` must have one number per distillation loss. "
                f"Received: {len(weights)} weights for {len(self.distillation_losses)} losses."
            )
        self.distillation_loss_weights = tuple(float(weight) for weight in weights)
        self.feature_scale = tf.Variable(1.0, trainable=False, name="feature_scale")
        self.seed = int(seed)
        self.student_logits = view.model
        # XLA compiles the step if both networks are narrow. Wide ones do not gain from it on a CPU,
        # on a GPU Keras uses XLA anyway, and several replicas cannot use it.
        self._is_compiled = (
            compiles_well(teacher.model)
            and compiles_well(view.model, training=True)
            and tf.distribute.get_strategy().num_replicas_in_sync == 1
            and not has_gpu()
        )
        self._match = FeatureMatch(
            teacher, view, self.distillation_losses, self.distillation_loss_weights,
            self._is_compiled,
        )  # fmt: skip
        self._compiled_update = tf.function(self._update, jit_compile=True, autograph=False)
        self._accuracy = keras.metrics.Mean(name="accuracy")
        self._needs_labels = False
        self.built = True

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: None = None,
        loss_weights: None = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """Configure the training, as in Keras but without a loss.

        Args:
            optimizer: Optimizer of the student.
            loss: Must be None; pass custom losses as `distillation_losses`.
            loss_weights: Must be None.
            metrics: Metrics of `(teacher_logits, student_logits)`; "accuracy" or "acc" is the
                accuracy against the labels.
            weighted_metrics: The same, weighted by `sample_weight`.
            **options: `run_eagerly`, `steps_per_execution`, `jit_compile` and `auto_scale_loss`.

        Raises:
            InputError: If a loss is passed, or a metric object has the name "accuracy". `fit` and
                `evaluate` raise it if "accuracy" was requested and a batch has no labels.
        """
        for name, value in (("loss", loss), ("loss_weights", loss_weights)):
            if value is not None:
                raise invalid(
                    name,
                    "be None, because `Distiller` has its own loss",
                    value,
                    fix="Pass a custom loss to `Distiller(distillation_losses=[...])`, and set "
                    "`hard_label_weight` for the cross-entropy with labels.",
                )
        given = [keras.tree.flatten(part or []) for part in (metrics, weighted_metrics)]
        if any(getattr(metric, "name", None) == "accuracy" for part in given for metric in part):
            raise InputError(
                "`metrics` must not contain an object named 'accuracy', the name of the accuracy "
                f"against the labels. Received: metrics={metrics}, "
                f"weighted_metrics={weighted_metrics}. Give it another name, or pass the string "
                "'accuracy' for the accuracy against the labels."
            )
        kept = [[metric for metric in part if metric not in _ACCURACY] for part in given]
        self._needs_labels = kept != given
        super().compile(
            optimizer,
            metrics=kept[0] or None,
            weighted_metrics=kept[1] or None,
            **options,
        )

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile` as JSON types."""
        config = dict(super().get_compile_config())
        if self._needs_labels:
            config["metrics"] = [*(config["metrics"] or []), "accuracy"]
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile from `get_compile_config`; Keras does not do this if `compile` is overridden."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    @property
    def frozen_variables(self) -> list[Any]:
        """Variables of the teacher, which training does not change."""
        return list(self.teacher_model.variables)

    def passes(self, batch: Any) -> list[tuple[keras.Model, float]]:
        """Return the forward passes of each network for one example of a training step.

        Args:
            batch: A batch in a format of `fit`, or its specification.
        """
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        is_answered = _answers(x) is not None and not self.augmentations
        return [(self.teacher.model, 0.0 if is_answered else 1.0), (self.student, UPDATE)]

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return the output of the student for images, or for a dict with "image"."""
        return self.student(_images(x), training=training)

    def make_train_function(self, force: bool = False) -> None:
        """Make the train function, with batch statistics of the student over all replicas."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            self.train_function = synchronized(self.train_function, self.student)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Update the student on a batch; see the class for the formats of `data`."""
        x, labels, weight = self._unpack(data)
        images, answers = _images(x), _answers(x)
        if self.augmentations:
            images, answers = tf.cast(images, tf.float32), None
            for number, augment in enumerate(self.augmentations):
                key = draw_seed(self.seed, number, self.optimizer.iterations)
                images = augment(images, self.teacher.input_range, key)
            images = nearest_allowed(images, self.teacher.input_range)
        is_compiled = self._is_compiled and not self.run_eagerly
        update = self._compiled_update if is_compiled else self._update
        return update(images, answers, labels, weight)

    def _unpack(self, data: Any) -> tuple[Any, Any, Any]:
        """Inputs, labels and weights of a batch; labels are required for accuracy."""
        x, labels, weight = keras.utils.unpack_x_y_sample_weight(data)
        if labels is None and self._needs_labels:
            raise InputError(
                "`metrics` must not contain 'accuracy' without labels, as with impressions. "
                "Received: a batch without labels. Compile with "
                "keras_zskd.metrics.TeacherAgreement() instead, or pass labels; accuracy is then "
                "logged by default."
            )
        return x, labels, weight

    def _update(self, images: Any, answers: Any, labels: Any, weight: Any) -> dict[str, Any]:
        """Update the student on images without augmentation; return the logs."""
        with tf.GradientTape() as tape:
            loss, logged, outputs = self._batch_losses(
                images, answers, labels, weight, training=True
            )
            scaled = self.optimizer.scale_loss(loss)
        weights = self.student.trainable_weights
        self.optimizer.apply(tape.gradient(scaled, weights), weights)
        return self._log(images, labels, weight, logged, outputs)

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compute losses and metrics of a batch, without updates and augmentations."""
        x, labels, weight = self._unpack(data)
        images = _images(x)
        _, logged, outputs = self._batch_losses(images, _answers(x), labels, weight, training=False)
        return self._log(images, labels, weight, logged, outputs)

    def _batch_losses(
        self, images: Any, answers: Any, labels: Any, weight: Any, training: bool
    ) -> tuple[Any, Any, tuple[Any, Any]]:
        """The loss to differentiate, the loss to log, and both sets of logits."""
        teacher, student, feature_loss, batch_loss = self._match(images, answers, training)
        if self.distillation_losses:
            feature_loss, batch_loss = (self.feature_scale * x for x in (feature_loss, batch_loss))
        if labels is not None and self.hard_label_weight:
            hard_loss = label_set_loss if self.teacher.is_multi_label else hard_label_loss
            feature_loss += self.hard_label_weight * hard_loss(labels, student)
        teacher, student = (as_choices(z, self.teacher.is_multi_label) for z in (teacher, student))
        per_example = distillation_loss(teacher, student, self.temperature) + feature_loss
        if weight is not None:
            per_example *= tf.reshape(tf.cast(weight, tf.float32), (-1,))
        count = tf.cast(tf.shape(per_example)[0], tf.float32)
        everywhere, replicas = count_everywhere(count)
        extra = batch_loss + tf.add_n(
            [tf.cast(v, tf.float32) for v in self.student.losses] or [0.0]
        )
        # Keras optimizers sum the gradients over the replicas, so each computes its share of the
        # mean.
        loss = tf.reduce_sum(per_example) / everywhere + extra / replicas
        # A replica may have no example at the end of an epoch.
        logged = tf.math.divide_no_nan(tf.reduce_sum(per_example), count) + extra
        return loss, logged, (teacher, student)

    def _log(
        self, images: Any, labels: Any, weight: Any, loss: Any, outputs: tuple[Any, Any]
    ) -> dict[str, Any]:
        teacher, student = outputs
        loss_tracker(self).update_state(loss, sample_weight=tf.shape(student)[0])
        logs = self.compute_metrics(images, teacher, student, sample_weight=weight)
        if labels is None:
            logs.pop("accuracy", None)
        else:
            predicted = tf.argmax(student, axis=-1)
            labels = tf.reshape(tf.cast(labels, tf.int64), tf.shape(predicted))
            hit = tf.cast(tf.equal(predicted, labels), tf.float32)
            hit = tf.reduce_mean(hit, axis=-1) if self.teacher.is_multi_label else hit
            self._accuracy.update_state(hit, sample_weight=weight)
            logs["accuracy"] = self._accuracy.result()
        return logs

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute the compiled metrics of teacher logits `y` and student logits `y_pred`."""
        # Keras builds the metrics with the y of the dataset: None, or labels of another shape than
        # the logits that the metrics take.
        y = y_pred if y is None or len(y.shape) != len(y_pred.shape) else y
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """Return the metrics, without the accuracy of an epoch that had no labels."""
        result = super().get_metrics_result()
        # Keras logs the metrics of all replicas only if their names are those that a step returned.
        if tf.executing_eagerly() and not float(keras.ops.sum(self._accuracy.count)):
            result.pop("accuracy", None)
        return result

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, including teacher and student."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "teacher": serialize(self.teacher.model),
            "input_range": as_json(self.teacher.input_range),
            "is_multi_label": self.teacher.is_multi_label,
            "student": serialize(self.student),
            "temperature": self.temperature,
            "hard_label_weight": self.hard_label_weight,
            "augmentations": [serialize(augment) for augment in self.augmentations],
            "distillation_losses": [serialize(loss) for loss in self.distillation_losses],
            "distillation_loss_weights": list(self.distillation_loss_weights),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """Create a Distiller from the result of `get_config`, with newly initialized weights."""
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        teacher = restored_teacher(
            deserialize(config.pop("teacher"), custom_objects),
            config.pop("input_range"),
            config.pop("is_multi_label", False),
        )
        for name in ("augmentations", "distillation_losses"):
            config[name] = [deserialize(item, custom_objects) for item in config[name]]
        config["student"] = deserialize(config["student"], custom_objects)
        return cls(teacher=teacher, **config)


def _images(x: Any) -> Any:
    return x["image"] if isinstance(x, dict) else x


def _answers(x: Any) -> Any:
    return x.get("logits") if isinstance(x, dict) else None
