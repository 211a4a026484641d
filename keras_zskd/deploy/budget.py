"""`Budget`: a limit on size, parameters or time, and the widest student within it."""

import dataclasses
import math
import pathlib
import re
import tempfile
from typing import Any, Self

import keras
import numpy as np

from keras_zskd.core.errors import InputError, invalid
from keras_zskd.deploy.formats import export
from keras_zskd.deploy.litert_model import LiteRTModel
from keras_zskd.models.slimming.narrow_copy import slim
from keras_zskd.models.teacher import Teacher

_UNITS = {
    "b": ("bytes", 1.0), "kb": ("bytes", 1e3), "mb": ("bytes", 1e6),
    "params": ("parameters", 1.0), "kparams": ("parameters", 1e3), "mparams": ("parameters", 1e6),
    "ms": ("ms_per_image", 1.0),
}  # fmt: skip
_SHOWN = {"bytes": "{:,.0f} bytes", "parameters": "{:,.0f} parameters", "ms_per_image": "{:.3f} ms"}
_QUANTITIES = re.compile(
    rf"(\d+\.?\d*|\.\d+) *({'|'.join(sorted(_UNITS, key=len))})", re.IGNORECASE
)
# Widths are searched in thousandths.
_STEPS = 1_000
# The search ends at a student that uses this share of its budget.
_ENOUGH = {"bytes": 0.98, "parameters": 0.98, "ms_per_image": 0.9}
_NUM_CHECKS = 8
_REPEATS = 50


@dataclasses.dataclass(frozen=True)
class Budget:
    """An upper limit on the size, the parameters or the latency of a student.

    Attributes:
        text: As the user wrote it, such as "200KB", "50kparams" or "1ms".
        quantity: "bytes" of the float32 LiteRT file, "parameters", or "ms_per_image" of that file on
            this machine, with one thread and one image at a time.
        limit: The largest value allowed. A KB has 1,000 bytes.
    """

    text: str
    quantity: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a budget; None if the text is not one.

        Raises:
            InputError: If the number is 0.
        """
        found = _QUANTITIES.fullmatch(text.strip())
        if found is None:
            return None
        quantity, factor = _UNITS[found[2].lower()]
        limit = float(found[1]) * factor
        if not limit:
            raise invalid(
                "student",
                "be a positive budget",
                text,
                fix="Give a limit such as 200KB, 50kparams or 1ms.",
            )
        return cls(text, quantity, limit)

    def shown(self, needs: dict[str, Any]) -> str:
        """Format what a student needs of the limited quantity."""
        return _SHOWN[self.quantity].format(needs[self.quantity])


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The widest student found within a budget.

    Attributes:
        budget: The text of the budget.
        width: Width for `slim`, in (0, 1], a multiple of 0.001.
        needs: "parameters"; also "bytes" and "ms_per_image", unless the parameters are limited.
    """

    budget: str
    width: float
    needs: dict[str, Any]


def widest_within(budget: Budget, teacher: Teacher) -> Fitted:
    """Find the widest untrained `slim` copy of the teacher within a budget.

    Sizes and times are those of its LiteRT file in float32. They depend on the layers, not on the
    weights, so nothing is trained. The search, by bisection and interpolation, ends early at a
    student that uses nearly the whole budget: 98%, or 90% of a time, since times vary between
    measurements.

    Args:
        budget: The limit.
        teacher: The teacher.

    Raises:
        InputError: If even the narrowest copy needs more, `slim` cannot narrow the teacher, or its
            copy has no LiteRT file.
    """
    narrowest = _needs(budget, teacher, 1)
    if narrowest[budget.quantity] > budget.limit:
        raise InputError(
            f"`student` must be a budget that a narrower copy of the teacher can meet. Received: "
            f"student={budget.text!r}, but the narrowest copy of {teacher.name!r} needs "
            f"{budget.shown(narrowest)}. Allow more, or pass a smaller architecture."
        )
    fits, found = 1, narrowest
    too_wide, too_much = _STEPS + 1, math.inf
    number = _STEPS  # The copy of full width is tried first: if it fits, the search is over.
    tried = 0
    aim = (1.0 + _ENOUGH[budget.quantity]) / 2
    while too_wide - fits > 1:
        try:
            needs = _needs(budget, teacher, number)
        except InputError:  # A width so near 1 that no layer becomes narrower.
            needs = {budget.quantity: math.inf}
        if needs[budget.quantity] > budget.limit:
            too_wide, too_much = number, needs[budget.quantity]
        else:
            fits, found = number, needs
            if found[budget.quantity] >= _ENOUGH[budget.quantity] * budget.limit:
                break
        tried += 1
        middle = (fits + too_wide) / 2
        if tried % 3 and math.isfinite(too_much):
            # Between two widths, what a network needs is close to a power of the width.
            least = found[budget.quantity]
            power = math.log(too_wide / fits) / math.log(too_much / least)
            middle = fits * (aim * budget.limit / least) ** power
        number = min(max(round(middle), fits + 1), too_wide - 1)
    return Fitted(budget.text, fits / _STEPS, found)


def _needs(budget: Budget, teacher: Teacher, number: int) -> dict[str, Any]:
    """Return what the copy of `number` thousandths of the width needs."""
    student = slim(teacher.prototype, number / _STEPS)
    needs: dict[str, Any] = {"parameters": student.count_params()}
    return needs if budget.quantity == "parameters" else {**needs, **_measured(student, teacher)}


def _measured(student: keras.Model, teacher: Teacher) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for variable in student.variables:
        value = np.asarray(variable)
        # A LiteRT file stores equal weights of different layers only once, such as biases of 0.
        if np.issubdtype(value.dtype, np.floating) and value.size and np.ptp(value) == 0.0:
            variable.assign(value + rng.uniform(-0.1, 0.1, value.shape))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "student.tflite"
        export(student, path, "litert", None, teacher.input_range, _NUM_CHECKS)
        milliseconds = LiteRTModel(path).milliseconds_per_image(repeats=_REPEATS)
        return {"bytes": path.stat().st_size, "ms_per_image": round(milliseconds, 4)}
