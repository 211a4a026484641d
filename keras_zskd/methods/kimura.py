"""Few-shot learning of neural networks from scratch by pseudo example optimization (Kimura, 2018)."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_zskd.distillation.distiller import Distiller
from keras_zskd.distillation.losses import distillation_loss
from keras_zskd.evaluation.metrics import TeacherAgreement
from keras_zskd.inputs.source import Arrays, Mixture
from keras_zskd.methods.method import Method, check_counts
from keras_zskd.models.teacher import Teacher
from keras_zskd.runs.needs import Images, Need
from keras_zskd.runs.run import Run
from keras_zskd.runs.trained import Origin, Trained

_NUM_HELD_OUT = 1_000
_SURE = 40.0


@keras.saving.register_keras_serializable(package="keras_zskd")
class Kimura(Method):
    """A few labeled images, and pseudo-examples that move to where the student is wrong.

    `L = (1 / N_L) sum CE(y, f(x_L)) + (1 / N_P) sum lambda_2(x_P) KL(g(x_P), f(x_P))` with the
    fidelity weight `lambda_2 = fidelity exp(-log(fidelity / fidelity_mean) sigma(x) / mean sigma)`.
    Pseudo-examples begin between pairs of labeled images. Between two trainings a copy of the newest
    ones moves uphill, `x <- x + eps grad_x KL(g(x), f(x))`, and joins them.

    The paper's reference `g` is an ensemble of Gaussian processes; here it is the teacher. Where the
    paper is silent this is our reading: the entropy of the teacher's answer stands for the deviation
    `sigma` of the Gaussian process, a move is `moves` steps of Adam, and as many pseudo-examples join
    after each training as there were at first (1,250 become 10,000 in 8 trainings, as in the paper).

    Args:
        num_images: Labeled training images, as many of each class as can be.
        num_pseudo: Pseudo-examples of the first training.
        trainings: How many; the pseudo-examples are fixed within each.
        epochs: Of each training.
        batch_size: Of the training.
        share: Of labeled images in a batch.
        fidelity: `lambda_2` where the teacher is surest.
        fidelity_mean: `lambda_2` where its entropy is the mean.
        moves: Steps of Adam on the pixels between two trainings.
        rate_images: Adam's learning rate on pixels scaled to [0, 1].
        learning_rate: Of Nadam, on the student.
    """

    name = "kimura"
    title = "a student trained on a few real images and on pseudo-examples made of them"
    reference = (
        "Kimura, Ghahramani, Takeuchi, Iwata, Ueda: Few-shot Learning of Neural Networks from Scratch "
        "by Pseudo Example Optimization, BMVC 2018"
    )
    published = {
        "MNIST, 200 images, in Nayak et al.": 86.70,
        "Fashion-MNIST, 200 images, in Nayak et al.": 72.50,
    }
    presets = {"default": {}, "paper": {"learning_rate": 0.02}}

    def __init__(
        self,
        num_images: int = 200,
        num_pseudo: int = 1_250,
        trainings: int = 8,
        epochs: int = 25,
        batch_size: int = 128,
        share: float = 0.25,
        fidelity: float = 1.0,
        fidelity_mean: float = 0.5,
        moves: int = 10,
        rate_images: float = 0.02,
        learning_rate: float = 2e-3,
    ):
        check_counts(
            num_images=num_images, num_pseudo=num_pseudo, trainings=trainings, epochs=epochs,
            batch_size=batch_size, moves=moves,
        )  # fmt: skip
        self.num_images, self.num_pseudo, self.trainings = num_images, num_pseudo, trainings
        self.epochs, self.batch_size, self.share = epochs, batch_size, share
        self.fidelity, self.fidelity_mean = fidelity, fidelity_mean
        self.moves, self.rate_images, self.learning_rate = moves, rate_images, learning_rate

    @property
    def needs(self) -> Sequence[Need]:
        """See `Method.needs`."""
        return (Images(self.num_images),)

    def train(self, run: Run) -> Trained:
        """See `Method.train`."""
        few = run.keep("images", functools.partial(_few, run, self.num_images))
        distiller = Distiller(run.teacher, run.new_student(), temperature=1.0, seed=run.seed)
        distiller.compile(
            keras.optimizers.Nadam(self.learning_rate), weighted_metrics=[TeacherAgreement()]
        )
        newest = interpolated(few["image"], self.num_pseudo, run.seed)
        pool = newest
        for number in range(self.trainings):
            if number:
                moved = run.keep(f"pool-{number}", functools.partial(self.moved, newest, distiller))
                newest = moved["image"]
                pool = np.concatenate([pool, newest])
            inputs = Mixture(
                [self._labeled(few, run.teacher), self._pseudo(pool, run.teacher)],
                (self.share, 1.0 - self.share),
            )
            run.fit(distiller, inputs, self.epochs, self.batch_size, name=f"training-{number + 1}")
        held_out = interpolated(few["image"], _NUM_HELD_OUT, run.seed + 1)
        origin = Origin.few_images(len(few["image"]), str(run.resources.training_dataset))
        return Trained(distiller.student, Arrays({"image": pool}), held_out, origin)

    def _labeled(self, few: dict[str, np.ndarray], teacher: Teacher) -> Arrays:
        """Real images; what they should be is certain, so the divergence is the cross-entropy."""
        sure = _SURE * np.eye(teacher.num_classes, dtype=np.float32)[few["label"]]
        weight = np.full(len(sure), 1.0 / self.share, np.float32)
        return Arrays(({"image": few["image"], "logits": sure}, few["label"], weight))

    def _pseudo(self, pool: np.ndarray, teacher: Teacher) -> Arrays:
        """Pseudo-examples with the teacher's answers and their fidelity weights."""
        logits = teacher.model.predict(pool, batch_size=512, verbose=0)
        weight = fidelity_weight(logits, self.fidelity, self.fidelity_mean) / (1.0 - self.share)
        inputs = {"image": pool, "logits": logits}
        return Arrays((inputs, logits.argmax(-1), weight.astype(np.float32)))

    def moved(self, images: np.ndarray, distiller: Distiller) -> dict[str, np.ndarray]:
        """`images` as they are after `moves` steps of Adam up `KL(g, f)`, by the name "image"."""
        teacher, student = distiller.teacher, distiller.student_logits
        low, high = teacher.input_range
        pixels = tf.Variable((images - low) / (high - low), dtype=tf.float32)
        adam = keras.optimizers.Adam(self.rate_images)
        adam.build([pixels])

        @tf.function
        def step() -> None:
            with tf.GradientTape() as tape:
                shown = low + (high - low) * pixels
                divergence = distillation_loss(teacher(shown), student(shown, training=False))
                loss = -tf.reduce_sum(divergence)
            adam.apply([tape.gradient(loss, pixels)], [pixels])
            pixels.assign(tf.clip_by_value(pixels, 0.0, 1.0))

        for _ in range(self.moves):
            step()
        return {"image": np.asarray(low + (high - low) * pixels, np.float32)}


def _few(run: Run, count: int) -> dict[str, np.ndarray]:
    images, labels = run.resources.images(count, run.teacher, run.seed)
    return {"image": images, "label": labels}


def interpolated(images: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` points between random pairs of images, `(count, *input_shape)`."""
    random = np.random.default_rng(seed)
    one, other = random.integers(0, len(images), (2, count))
    share = random.random((count,) + (1,) * (images.ndim - 1), np.float32)
    return share * images[one] + (1.0 - share) * images[other]


def fidelity_weight(logits: Any, fidelity: float, fidelity_mean: float) -> np.ndarray:
    """`fidelity exp(-log(fidelity / fidelity_mean) sigma / mean sigma)`, `(N,)`.

    Args:
        logits: `(N, K)` of the teacher; `sigma` is the entropy of its answer.
        fidelity: Weight where `sigma` is 0.
        fidelity_mean: Weight where `sigma` is its mean.
    """
    p = np.asarray(tf.nn.softmax(logits))
    sigma = -np.sum(p * np.log(np.maximum(p, 1e-30)), axis=-1)
    return fidelity * np.exp(-np.log(fidelity / fidelity_mean) * sigma / max(sigma.mean(), 1e-30))
