"""`sized`: scales the sizes of a method to a given budget."""

from collections.abc import Sequence

from keras_zskd.methods.method import Method
from keras_zskd.runs.tally import StageCost, Tally

# If the cost is this close to the budget, as a share of it, the sizes are not adjusted further.
_CLOSE = 0.01
_TRIALS = 6


def sized(
    method: Method,
    budget: float,
    tally: Tally,
    counts: Sequence[str] | None = None,
) -> tuple[Method, list[StageCost]]:
    """Scale the counts of a method until its cost is the budget, as nearly as integers allow.

    The cost grows in proportion to the counts, except for a constant part, so a few trials suffice.

    Args:
        method: The method.
        budget: Forward passes of the teacher, positive.
        tally: An open tally of the teacher, the student and the resources.
        counts: Names of the settings to scale. Defaults to `Method.counts`. If there are none, the
            method is returned as it is, with its cost.

    Returns:
        The method, and the cost of each of its stages. The cost may exceed the budget if all counts
        are 1, or if the constant part alone is larger.
    """
    counts = method.counts if counts is None else counts
    factor = 1.0
    trials: dict[float, tuple[Method, list[StageCost]]] = {}
    seen = []
    for _ in range(_TRIALS):
        trial = method.scaled(factor, counts)
        if trial.get_config() in seen:
            break
        seen.append(trial.get_config())
        tally.restart()
        trial.train(tally)
        error = abs(tally.forwards / budget - 1.0)
        trials[error] = trial, list(tally.costs)
        if error < _CLOSE or not counts:
            break
        factor *= budget / max(tally.forwards, 1.0)
    return trials[min(trials)]
