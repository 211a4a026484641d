"""`Competition`: a prior that favors impressions on which a student differs from its teacher."""

from typing import Any

import keras
import tensorflow as tf

from keras_zskd.core.errors import invalid
from keras_zskd.core.input_range import from_unit
from keras_zskd.impressions.priors import Prior
from keras_zskd.models.graph import fingerprint
from keras_zskd.models.lowering.lowered import Lowered
from keras_zskd.models.teacher import Teacher


class Competition(Prior):
    """Penalizes agreement of the student with its teacher (Adaptive DeepInversion).

    `1 - JS(p, q)` with `JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2`, `m = (p + q) / 2`, and the
    predictions `p = softmax(f(x) / tau)` of the teacher and `q` of the student (Yin et al., CVPR
    2020, section 3.3). The student gets the pixels that the teacher gets, in inference mode.

    The released code clips the predictions to [0.01, 0.99] and uses `KL(m || p)` and `KL(m || q)`.
    This class follows the paper.

    Args:
        student: A Functional classifier that returns logits `(N, K)`. Its weights are those at the
            time of the synthesis.
        weight: Factor of the penalty, 0 or more.
        temperature: `tau`, positive. Defaults to 3, as in the released code.

    The configuration holds a fingerprint that identifies the student. A `Competition` cannot be
    created from it.
    """

    is_transformed = True

    def __init__(self, student: keras.Model, weight: float = 10.0, temperature: float = 3.0):
        super().__init__(weight)
        if not temperature > 0:
            raise invalid("temperature", "be positive", temperature)
        self.student, self.temperature = student, float(temperature)
        self.networks = (student,)
        self._look = Lowered(student)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments, for the workers of a cluster."""
        return Competition, (self.student, self.weight, self.temperature)

    def taps(self, teacher: Teacher) -> list[Any]:
        """See `Prior.taps`."""
        return [teacher.model.outputs[0]]

    def penalty(self, pixels: Any, taps: list[Any], teacher: Teacher) -> Any:
        """See `Prior.penalty`."""
        (student,) = self._look(from_unit(pixels, teacher.input_range))
        p, q = (
            tf.nn.softmax(tf.cast(logits, tf.float32) / self.temperature)
            for logits in (taps[0], student)
        )
        return 1.0 - jensen_shannon(p, q)

    def get_config(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "student": fingerprint(self.student),
        }


def jensen_shannon(p: Any, q: Any) -> Any:
    """Compute the Jensen-Shannon divergence `(N,)` of probabilities `(N, K)`, in nats: [0, log 2]."""
    m = (p + q) / 2.0
    of_p, of_q = (tf.reduce_sum(tf.math.xlogy(x, x) - tf.math.xlogy(x, m), axis=-1) for x in (p, q))
    return (of_p + of_q) / 2.0
