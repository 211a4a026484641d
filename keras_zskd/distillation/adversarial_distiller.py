"""`AdversarialDistiller`: trains a student together with a generator of its inputs."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.core.errors import invalid
from keras_zskd.core.keras_internals import loss_tracker, policy_for_training
from keras_zskd.core.workers import refuse_several_machines
from keras_zskd.distillation.attention_transfer import attention_distance, attention_pairs
from keras_zskd.distillation.replicas import count_everywhere, draw_seed, synchronized
from keras_zskd.inputs.batching import mapped, ready
from keras_zskd.inputs.source import Noise
from keras_zskd.models.arithmetic import UPDATE
from keras_zskd.models.logits import logits_view
from keras_zskd.models.lowering.lowered import Lowered
from keras_zskd.models.teacher import Teacher


class Answers(NamedTuple):
    """Outputs of a network for a batch.

    Attributes:
        logits: `(N, K)` float32.
        features: `(N, D)`, inputs of the teacher's last layer.
    """

    logits: Any
    features: Any


class AdversarialDistiller(keras.Model):
    """Trains a generator and a student alternately, with a frozen teacher.

    Each step takes noise `z` from the dataset, updates the generator `generator_steps` times on
    `generator_loss`, and then updates the student `student_steps` times on `student_loss`. The
    student is trained on the images of the generator's last forward pass, which precedes the last
    update of the generator, as in the released code of DAFL and ZSKT. With `fresh_noise`, each
    update of the student uses new images instead.

    Losses return one value per example. `generator_loss` also returns a scalar for the batch as a
    whole. Values per example are averaged over all replicas, and the scalar is counted once, so an
    update does not depend on the number of replicas.

    Args:
        teacher: Teacher with a Dense layer or 1x1 convolution before its logits.
        student: A classifier with the teacher's inputs and classes. It is trained in place.
        generator: Model from noise `(N, ...)` to images `(N, *input_shape)` in the teacher's range.
        generator_loss: Function from the teacher's `Answers` and a function without arguments that
            returns the student's logits, to `((N,), scalar)`.
        student_loss: Function from the teacher's and the student's logits to `(N,)`.
        generator_steps: Updates of the generator per step, 1 or more.
        student_steps: Updates of the student per step, 1 or more.
        fresh_noise: Whether each update of the student uses new images.
        seed: Seed of the noise that is not from the dataset.
        attention: Weight of `attention_distance` in the loss of the student, summed over the pairs
            of `attention_pairs`; 0 or more.

    Attributes:
        teacher_model: The teacher as a model that returns logits and features, followed by the
            feature maps of the attention term if `attention` is positive.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
        >>> distiller = AdversarialDistiller(
        ...     Teacher(model, (0, 1)), keras.models.clone_model(model), generator,
        ...     lambda teacher, student: (-tf.reduce_mean(teacher.features, -1), 0.0),
        ...     lambda teacher, student: tf.reduce_mean(tf.abs(teacher - student), -1))
        >>> distiller.compile("adam", generator_optimizer="adam")
        >>> history = distiller.fit(Noise((2,)).stream(8, 0), steps_per_epoch=2, verbose=0)
        >>> sorted(history.history)
        ['generator_loss', 'loss']
    """

    train_function: Any  # Set by Keras; mypy cannot infer its type.

    def __init__(
        self,
        teacher: Teacher,
        student: keras.Model,
        generator: keras.Model,
        generator_loss: Callable[[Answers, Callable[[], Any]], tuple[Any, Any]],
        student_loss: Callable[[Any, Any], Any],
        generator_steps: int = 1,
        student_steps: int = 1,
        fresh_noise: bool = False,
        seed: int = 0,
        attention: float = 0.0,
    ):
        refuse_several_machines(tf.distribute.get_strategy())
        for name, count in (("generator_steps", generator_steps), ("student_steps", student_steps)):
            if count < 1:
                raise invalid(name, "be 1 or more", count)
        super().__init__(dtype=policy_for_training(student, generator))
        self.teacher, self.student, self.generator = teacher, student, generator
        self.generator_loss, self.student_loss = generator_loss, student_loss
        self.generator_steps, self.student_steps = generator_steps, student_steps
        self.fresh_noise, self.seed = fresh_noise, seed
        self.generator_optimizer: Any = None
        view = logits_view(student).model
        self.attention = float(attention)
        pairs = attention_pairs(teacher.model, view) if attention else []
        self.teacher_model = teacher.tapped(
            [teacher.model.output, teacher.penultimate, *(theirs for theirs, _ in pairs)]
        )
        self.teacher_model.trainable = False
        self._ask_teacher = Lowered(self.teacher_model)
        self._ask_student = Lowered(
            view, [view.output, *(ours for _, ours in pairs)], training=True
        )
        self._generate = _in_training(generator)
        self._generator_tracker = keras.metrics.Mean(name="generator_loss")
        # A `tf.function` is traced once for all student steps of a training step. Replicas cannot
        # meet in one, as they do to add their gradients.
        self._is_alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
        self._traced_student_step = tf.function(self._student_step, autograph=False)
        self.built = True

    @property
    def frozen_variables(self) -> list[Any]:
        """Variables of the teacher, which training does not change."""
        return list(self.teacher_model.variables)

    @property
    def optimizers(self) -> tuple[Any, ...]:
        """Optimizers of the student and of the generator."""
        return self.optimizer, self.generator_optimizer

    @property
    def images_per_example(self) -> int:
        """Number of images that a step generates for each example of its noise batch."""
        return self.generator_steps + (self.student_steps if self.fresh_noise else 0)

    def passes(self, batch: Any) -> list[tuple[keras.Model, float]]:
        """Return the forward passes of each network for one example of a training step.

        Args:
            batch: Not used, since every batch is noise.
        """
        del batch
        called: list[bool] = []
        classes, features = self.teacher.num_classes, self.teacher.penultimate.shape[1:]

        def student() -> Any:
            called.append(True)
            return tf.zeros((1, classes))

        # A trial call shows whether the generator's loss depends on the student.
        answers = Answers(tf.zeros((1, classes)), tf.zeros((1, math.prod(features))))
        self.generator_loss(answers, student)
        updates, more = self.generator_steps * UPDATE, self.images_per_example
        return [
            (self.teacher.model, updates + self.student_steps),
            (self.generator, updates + more - self.generator_steps),
            (self.student, (updates if called else 0.0) + self.student_steps * UPDATE),
        ]

    def compile(self, optimizer: Any, generator_optimizer: Any, **options: Any) -> None:
        """Compile with one optimizer per network; metrics compare teacher and student logits."""
        super().compile(optimizer=optimizer, **options)
        self.generator_optimizer = keras.optimizers.get(generator_optimizer)
        if self.dtype_policy.name == "mixed_float16":  # Keras does so for the student's.
            self.generator_optimizer = keras.optimizers.LossScaleOptimizer(self.generator_optimizer)
        self.optimizer.build(self.student.trainable_variables)
        self.generator_optimizer.build(self.generator.trainable_variables)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Return the output of the student for images generated from noise."""
        return self.student(self.generator(x, training=training), training=training)

    def make_train_function(self, force: bool = False) -> None:
        """Make the train function, with batch statistics of both networks over all replicas."""
        if self.train_function is not None and not force:
            return
        super().make_train_function(force)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            for model in (self.student, self.generator):
                self.train_function = synchronized(self.train_function, model)

    def train_step(self, data: Any) -> dict[str, Any]:
        """Update both networks, on noise `(N, ...)`."""
        noise = self._noise(data)
        images = None
        for _ in range(self.generator_steps):
            images = self._update_generator(next(noise))
        is_traced = self._is_alone and not self.run_eagerly
        student_step = self._traced_student_step if is_traced else self._student_step
        for _ in range(self.student_steps):
            logs = student_step(next(noise) if self.fresh_noise else images)
        return logs

    def _noise(self, first: Any) -> Iterator[Any]:
        """The noise of the dataset, then noise of that shape keyed by seed, step and replica."""
        yield first
        for number in itertools.count():
            key = draw_seed(self.seed, number, self.optimizer.iterations)
            yield tf.random.stateless_normal(tf.shape(first), key)

    def _update_generator(self, noise: Any) -> Any:
        """Update the generator; return the images from before the update."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            weights = self.generator.trainable_weights
            tape.watch([weight.value for weight in weights])
            images = self._generate(noise)
            logits, features, *_ = self._ask_teacher(images)
            features = tf.reshape(features, (-1, math.prod(features.shape[1:])))
            answers = Answers(tf.cast(logits, tf.float32), features)
            per_example, batch = self.generator_loss(
                answers, lambda: tf.cast(self._ask_student(images)[0], tf.float32)
            )
            loss, logged = _reduced(per_example, batch)
            loss = self.generator_optimizer.scale_loss(loss)
        self.generator_optimizer.apply(tape.gradient(loss, [w.value for w in weights]), weights)
        self._generator_tracker.update_state(logged, sample_weight=tf.shape(per_example)[0])
        return tf.stop_gradient(images)

    def _student_step(self, inputs: Any) -> dict[str, Any]:
        """Update the student on images, or on those of fresh noise; return its logs."""
        images = self._generate(inputs) if self.fresh_noise else inputs
        logits, _, *maps = self._ask_teacher(images)
        logits = tf.cast(logits, tf.float32)
        with tf.GradientTape() as tape:
            answers, *own = self._ask_student(images)
            answers = tf.cast(answers, tf.float32)
            per_example = self.student_loss(logits, answers)
            for pair in zip(maps, own, strict=True):
                per_example += self.attention * attention_distance(*pair)
            loss, logged = _reduced(per_example, 0.0)
            loss = self.optimizer.scale_loss(loss)
        weights = self.student.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        loss_tracker(self).update_state(logged, sample_weight=tf.shape(per_example)[0])
        logs = self.compute_metrics(images, logits, answers, sample_weight=None)
        return {**logs, "generator_loss": self._generator_tracker.result()}

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Compute the compiled metrics of teacher logits `y` and student logits `y_pred`."""
        # Keras builds the metrics with the y of the dataset, which has none.
        return super().compute_metrics(x, y_pred if y is None else y, y_pred, sample_weight)


class GeneratedImages:
    """Outputs of a generator network as a `Source` of `{"image": images}`.

    Args:
        generator: Model from noise to images.
        noise: Source of its inputs.
    """

    def __init__(self, generator: keras.Model, noise: Noise):
        self.generator, self.noise = generator, noise

    def stream(self, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        """See `Source.stream`."""
        made = self.noise.stream(batch_size, seed, first_step)
        return ready(mapped(made, lambda z: {"image": self.generator(z, training=False)}))

    def steps(self, batch_size: int) -> None:
        """Return None: the stream does not end."""
        del batch_size

    def images(self, count: int, seed: int = 0) -> np.ndarray:
        """Images `(count, *input_shape)` from the first noise of a seed."""
        return np.asarray(self.generator.predict(self.noise.images(count, seed), verbose=0))


def mean_over_replicas(values: Any) -> Any:
    """Differentiable mean `(K,)` of values `(N, K)` over the batch on all replicas."""
    count = tf.cast(tf.shape(values)[0], tf.float32)
    everywhere, replicas = count_everywhere(count)
    total = tf.reduce_sum(values, axis=0)
    if replicas > 1:
        total = tf.distribute.get_replica_context().all_reduce("sum", total)
    return total / everywhere


def _in_training(generator: keras.Model) -> Callable[[Any], Any]:
    """Return the generator in training mode, lowered if it is Functional or Sequential."""
    if not getattr(generator, "inputs", None):
        return functools.partial(generator, training=True)
    lowered = Lowered(generator, training=True)
    return lambda noise: lowered(noise)[0]


def _reduced(per_example: Any, batch: Any) -> tuple[Any, Any]:
    """The loss to differentiate and the loss to log, on one replica."""
    count = tf.cast(tf.shape(per_example)[0], tf.float32)
    everywhere, replicas = count_everywhere(count)
    # Keras optimizers sum the gradients over the replicas, so each computes its share.
    total = tf.reduce_sum(per_example)
    return total / everywhere + batch / replicas, tf.math.divide_no_nan(total, count) + batch
