"""The compiled loop on pixels: pure tensors, stateless randomness, one `tf.function` a batch."""

from typing import Any

import tensorflow as tf

from keras_zskd.impressions import randomness
from keras_zskd.impressions.canvas import Canvas
from keras_zskd.impressions.priors import Prior
from keras_zskd.impressions.targets import Targets
from keras_zskd.impressions.transforms import Transform
from keras_zskd.teacher import Teacher

_SALT = 20
_ADAM = (0.9, 0.999, 1e-8)


class PixelEngine:
    """Optimises a batch of impressions: `x* = argmin_x CE(y, softmax(f(x) / tau)) + priors(x)`.

    (Paper, equation 4, and section 3.2.) Adam on the free variables of the canvas; the teacher's
    weights get no gradient. The loss of one impression touches no other (but for priors on groups),
    so the sum over the batch is optimised and the batch size changes nothing.

    Args:
        teacher: The teacher.
        targets: What it should say.
        temperature: `tau` of the synthesis.
        priors: What the pixels should look like.
        transforms: Applied in turn before the teacher looks, anew at each step.
        canvas: What is optimised, and where it starts.
        steps: Adam steps.
        learning_rate: Adam's.
    """

    def __init__(
        self,
        teacher: Teacher,
        targets: Targets,
        temperature: float,
        priors: tuple[Prior, ...],
        transforms: tuple[Transform, ...],
        canvas: Canvas,
        steps: int,
        learning_rate: float,
    ):
        self.teacher = teacher
        self.targets = targets
        self.temperature = temperature
        self.priors = priors
        self.transforms = transforms
        self.canvas = canvas
        self.steps = steps
        self.learning_rate = learning_rate
        taps = [prior.taps(teacher) for prior in priors]
        self._tap_counts = [len(tap) for tap in taps]
        flat = [tensor for tap in taps for tensor in tap]
        self._tapped = teacher.tapped([teacher.model.outputs[0], *flat]) if flat else None

    def start(self, seed: Any, indices: Any) -> dict[str, Any]:
        """The state of the impressions `indices` before the first step."""
        target, label = self.targets.sample(self.teacher, seed, indices)
        z = self.canvas.start(seed, indices, self.teacher.input_shape)
        return {
            "z": z, "mean": tf.zeros_like(z), "variance": tf.zeros_like(z),
            "step": tf.zeros((), tf.int32), "target": target, "label": label,
        }  # fmt: skip

    def advance(self, state: dict[str, Any], seed: Any, steps: Any) -> dict[str, Any]:
        """The state after `steps` more Adam steps."""
        beta1, beta2, epsilon = _ADAM
        target = state["target"]
        end = state["step"] + steps

        def update(z: Any, mean: Any, variance: Any, step: Any) -> tuple[Any, ...]:
            gradient = self.gradient(z, target, seed, step)
            mean = beta1 * mean + (1.0 - beta1) * gradient
            variance = beta2 * variance + (1.0 - beta2) * tf.square(gradient)
            t = tf.cast(step + 1, tf.float32)
            rate = self.learning_rate * tf.sqrt(1.0 - beta2**t) / (1.0 - beta1**t)
            z = self.canvas.constrain(z - rate * mean / (tf.sqrt(variance) + epsilon))
            return z, mean, variance, step + 1

        names = ("z", "mean", "variance", "step")
        moved = tf.while_loop(
            lambda z, mean, variance, step: step < end, update, [state[name] for name in names]
        )
        return {**state, **dict(zip(names, moved, strict=True))}

    def gradient(self, z: Any, target: Any, seed: Any, step: Any) -> Any:
        """Gradient of the summed loss by `z`, with the transforms of `step`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            loss = tf.reduce_sum(self.loss(z, target, randomness.key(seed, _SALT, step)))
        return tape.gradient(loss, z)

    def loss(self, z: Any, target: Any, key: Any) -> Any:
        """Loss `(N,)`: cross-entropy at the synthesis temperature plus the weighted priors."""
        pixels = self.canvas.show(z)
        seen = pixels
        for number, transform in enumerate(self.transforms):
            seen = transform.apply(seen, tf.random.experimental.stateless_fold_in(key, number))
        logits, taps = self._look(self._scale(seen))
        loss = tf.nn.softmax_cross_entropy_with_logits(target, logits / self.temperature)
        for prior, count in zip(self.priors, self._tap_counts, strict=True):
            loss += prior.weight * prior.penalty(pixels, taps[:count], self.teacher)
            taps = taps[count:]
        return loss

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """What the impressions are now.

        Returns:
            `image` `(N, *input_shape)` in the teacher's input range, `target` `(N, K)`, `label`
            `(N,)`, `logits` `(N, K)`, and per impression `cross_entropy`, `gap` (cross-entropy less
            the entropy of the target, in nat, 0 where the target is reached) and `confidence`.
        """
        image = self._scale(self.canvas.show(state["z"]))
        logits = self.teacher(image)
        target = state["target"]
        cross_entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits / self.temperature)
        entropy = -tf.reduce_sum(tf.math.xlogy(target, target), axis=-1)
        return {
            "image": image,
            "target": target,
            "label": state["label"],
            "logits": logits,
            "cross_entropy": cross_entropy,
            "gap": cross_entropy - entropy,
            "confidence": tf.reduce_max(tf.nn.softmax(logits), axis=-1),
        }

    def _look(self, inputs: Any) -> tuple[Any, list[Any]]:
        if self._tapped is None:
            return self.teacher(inputs), []
        logits, *taps = self._tapped(inputs, training=False)
        return tf.cast(logits, tf.float32), taps

    def _scale(self, pixels: Any) -> Any:
        low, high = self.teacher.input_range
        return low + (high - low) * pixels
