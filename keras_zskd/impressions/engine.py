"""The compiled pixel loop: pure tensors, with all random numbers drawn in advance."""

from typing import Any

import numpy as np
import tensorflow as tf

from keras_zskd.core import randomness
from keras_zskd.core.errors import InputError
from keras_zskd.core.input_range import from_unit
from keras_zskd.core.predictions import as_choices, choice_targets, over_choices
from keras_zskd.impressions.canvas import Canvas
from keras_zskd.impressions.objectives import Objective
from keras_zskd.impressions.priors import Prior
from keras_zskd.impressions.transforms import Transform
from keras_zskd.models.lowering.lowered import Lowered
from keras_zskd.models.teacher import Teacher

_SALT = 20
_ADAM = (0.9, 0.999, 1e-8)


class PixelEngine:
    """Optimizes a batch of impressions: `x* = argmin_x objective(f(x), y) + priors(x)`.

    See equation 4 and section 3.2 of the paper. Adam updates the free variables of the canvas; no
    gradient is computed for the teacher's weights. The loss of a batch is the sum over its
    impressions, so the result for one does not depend on the others, except through priors on
    groups. Once an impression has met its objective, its pixels and its Adam state are frozen,
    while the others continue.

    The state of `N` impressions is a dict of tensors with leading axis `N`: `z`, Adam's `mean` and
    `variance`, the `age` in steps, the `target` and `aim` of the objective, the uniform `draws`
    `(N, steps, D)` of the transforms, and `is_done`.

    Args:
        teacher: The teacher.
        objective: Objective on the teacher's logits.
        priors: Penalties on pixels and activations.
        transforms: Random transforms, applied in order before the teacher at each step.
        canvas: Initial values and parameterization of the pixels.
        steps: Largest number of Adam steps.
        learning_rate: Learning rate of Adam.
        precision: "float32" or "bfloat16", for the teacher's forward and backward pass. Losses,
            Adam and the finished impressions are always float32.
        compiled: Whether the methods run under XLA; see `Lowered`.
    """

    def __init__(
        self,
        teacher: Teacher,
        objective: Objective,
        priors: tuple[Prior, ...],
        transforms: tuple[Transform, ...],
        canvas: Canvas,
        steps: int,
        learning_rate: float,
        precision: str = "float32",
        compiled: bool = False,
    ):
        if teacher.is_multi_label and not objective.for_labels:
            raise InputError(
                "`objective` must support multi-label teachers, as MatchTargets does. Received: "
                f"{type(objective).__name__} with teacher {teacher.name!r}."
            )
        self.teacher = teacher
        self.objective = objective
        self.priors = priors
        self.transforms = transforms
        self.canvas = canvas
        self.steps = steps
        self.learning_rate = learning_rate
        self.precision = precision
        self.compiled = compiled
        watched = teacher if precision == "float32" else teacher.at_precision(f"mixed_{precision}")
        taps = [objective.taps(watched), *(prior.taps(watched) for prior in priors)]
        self._tap_counts = [len(tap) for tap in taps]
        flat = [tensor for tap in taps for tensor in tap]
        # Called once, and early, since it raises an error if the teacher lacks what it needs.
        self._prepared = objective.prepare(teacher)
        outputs = [watched.model.outputs[0], *flat]
        self._look = Lowered(watched.model, outputs, compiled, frozen=compiled)
        self._answer = Lowered(teacher.model, compiled=compiled, frozen=compiled)

    def draw(self, seed: int, indices: Any) -> dict[str, Any]:
        """Draw all random numbers of the impressions `indices`, as arrays for `start`."""
        target, label = self.objective.sample(self.teacher, seed, indices, self._prepared)
        width = sum(transform.num_draws for transform in self.transforms)
        draws = randomness.uniforms(seed, _SALT, indices, self.steps * width)
        return {
            "target": target,
            "aim": self.objective.aim(self.teacher, seed, indices, self._prepared),
            "label": np.asarray(label, np.int64),
            "draws": draws.reshape(len(draws), self.steps, width),
            "canvas": self.canvas.draw(seed, indices, self.teacher.input_shape),
        }

    def start(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first step."""
        z = self.canvas.form(drawn["canvas"], self.teacher.input_shape)
        target = tf.convert_to_tensor(drawn["target"])
        return {
            "z": z, "mean": tf.zeros_like(z), "variance": tf.zeros_like(z),
            "age": tf.zeros_like(target[:, 0], tf.int32), "target": target,
            "draws": tf.convert_to_tensor(drawn["draws"]),
            "aim": tf.convert_to_tensor(drawn["aim"]),
            "is_done": tf.zeros_like(target[:, 0], tf.bool),
        }  # fmt: skip

    def advance(self, state: dict[str, Any], steps: Any) -> dict[str, Any]:
        """Return the state after `steps` more Adam steps, or fewer if all impressions are done."""
        beta1, beta2, epsilon = _ADAM
        target, aim, draws = state["target"], state["aim"], state["draws"]
        wide = (-1, *(1 for _ in self.teacher.input_shape))
        weights = self._look.weights()  # Once, instead of at every step.

        def update(
            step: Any, z: Any, mean: Any, variance: Any, age: Any, is_done: Any
        ) -> tuple[Any, ...]:
            # An impression that has had all its steps may be evaluated again, with its last draws.
            now = tf.minimum(age, self.steps - 1)
            uniforms = tf.gather(draws, now, axis=1, batch_dims=1) if self.transforms else None
            gradient, is_met = self.gradient(z, target, uniforms, weights, aim)
            old = (z, mean, variance, age)
            mean = beta1 * mean + (1.0 - beta1) * gradient
            variance = beta2 * variance + (1.0 - beta2) * tf.square(gradient)
            t = tf.cast(age + 1, tf.float32)
            rate = self.learning_rate * tf.sqrt(1.0 - beta2**t) / (1.0 - beta1**t)
            change = tf.reshape(rate, wide) * mean / (tf.sqrt(variance) + epsilon)
            new = (self.canvas.constrain(z - change), mean, variance, age + 1)
            if self.objective.stops:
                is_done |= is_met
                kept = [tf.reshape(is_done, wide)] * 3 + [is_done]
                new = tuple(tf.where(*each) for each in zip(kept, old, new, strict=True))
            return (step + 1, *new, is_done | (new[-1] >= self.steps))

        names = ("z", "mean", "variance", "age", "is_done")
        _, *moved = tf.while_loop(
            lambda step, *rest: (step < steps) & ~tf.reduce_all(rest[-1]),
            update,
            [tf.constant(0), *(state[name] for name in names)],
        )
        return {**state, **dict(zip(names, moved, strict=True))}

    def gradient(
        self, z: Any, target: Any, uniforms: Any = None, weights: Any = None, aim: Any = None
    ) -> tuple[Any, Any]:
        """Gradient of the summed loss with respect to `z`, and `Objective.is_met`; see `loss`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            loss, is_met = self.loss(z, target, uniforms, weights, aim)
        return tape.gradient(loss, z), is_met

    def loss(
        self, z: Any, target: Any, uniforms: Any = None, weights: Any = None, aim: Any = None
    ) -> tuple[Any, Any]:
        """Loss `(N,)`, and the result of `Objective.is_met` or None if the objective never stops.

        The loss is that of the objective plus the weighted priors. `uniforms` `(N, D)` are the
        draws of the transforms, `weights` the teacher's weights as returned by `Lowered.weights`,
        and `aim` `(N, A)` as drawn by the objective.
        """
        pixels = self.canvas.show(z)
        seen = pixels
        for transform in self.transforms:
            seen = transform.apply(seen, uniforms[:, : transform.num_draws])
            uniforms = uniforms[:, transform.num_draws :]
        logits, *taps = self._look(self._scale(seen), weights)
        logits, target = self._choices(tf.cast(logits, tf.float32), target)
        first, *counts = self._tap_counts
        loss = self.objective.total(logits, target, taps[:first], aim)
        taps = taps[first:]
        for prior, count in zip(self.priors, counts, strict=True):
            shown = seen if prior.is_transformed else pixels
            loss += prior.weight * prior.penalty(shown, taps[:count], self.teacher)
            taps = taps[count:]
        return loss, self.objective.is_met(logits, target) if self.objective.stops else None

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Evaluate the impressions in their current state.

        Returns:
            `image` `(N, *input_shape)` in the teacher's input range, `target` and `logits`
            `(N, K)`, and per impression `cross_entropy` at the objective's temperature, `gap`
            (cross-entropy minus the entropy of the target, in nats; 0 if the target is reached) and
            `confidence`.
        """
        image = self._scale(self.canvas.show(state["z"]))
        logits = tf.cast(self._answer(image)[0], tf.float32)
        choices, target = self._choices(logits, state["target"])
        cross_entropy = over_choices(
            tf.nn.softmax_cross_entropy_with_logits(target, choices / self.objective.temperature)
        )
        predicted = tf.nn.softmax(choices)
        return {
            "image": image,
            "target": state["target"],
            "logits": logits,
            "cross_entropy": cross_entropy,
            "gap": cross_entropy + over_choices(tf.math.xlogy(target, target)),
            "confidence": tf.reduce_max(
                predicted[..., 1] if self.teacher.is_multi_label else predicted, axis=-1
            ),
        }

    def _choices(self, logits: Any, target: Any) -> tuple[Any, Any]:
        """Logits and targets in the form that objectives take; see `as_choices`."""
        is_multi_label = self.teacher.is_multi_label
        return as_choices(logits, is_multi_label), choice_targets(target, is_multi_label)

    def _scale(self, pixels: Any) -> Any:
        return from_unit(pixels, self.teacher.input_range)
