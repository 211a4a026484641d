"""Image-steps per second of synthesis on LeNet-5, compared with the same update in PyTorch.

The update: sigmoid pixels, cross-entropy with soft targets at temperature 4, its gradient with
respect to the pixels' free variables z, Adam on z with learning rate 0.4; no priors, no transforms.
Every timed call makes the same five steps from the same start. All sides have the same weights,
start and targets. To verify that they compute the same update, z is compared after three steps.
"""

import pathlib
import tempfile
from typing import Any

from benchmarks import harness, table

TEMPERATURE, LEARNING_RATE = 4.0, 0.4
STEPS, CHECKED_STEPS = 5, 3
NUM_STARTS = 1000
_PEERS = {"PyTorch eager": False, "PyTorch torch.compile": True}
# Largest difference of z in the median image. A few images may diverge: rounding decides which of
# two nearly equal values a pooling layer passes its gradient to, and Adam turns even a tiny
# gradient into a full step.
_TOLERANCE = 1e-4
_APART, _MOST_APART = 1e-3, 0.05


def measure(repetitions: int = 3) -> dict[str, Any]:
    """Compare ours with PyTorch, eager and compiled."""
    with tempfile.TemporaryDirectory() as directory:
        file = str(pathlib.Path(directory) / "same.npz")
        harness.run("synthesis_lenet5:prepare", file=file)
        sides: harness.Sides = {"ours": ("synthesis_lenet5:ours", {"file": file})}
        for name, compiled in _PEERS.items():
            sides[name] = ("torch_synthesis:side", {"file": file, "compiled": compiled})
        results = harness.alternate(sides, repetitions, optional=_PEERS)
    ours = table.fastest(results["ours"])
    rows = []
    for name in _PEERS:
        peer = table.fastest(results[name])
        if not results[name].get("same_update", True):
            peer = {"missing": f"another update, z is {results[name]['difference']}"}
        rows.append(table.row("synthesis, LeNet-5", "image-steps/s", ours, name, peer, "4x"))
    differences = {name: results[name].get("difference") for name in _PEERS}
    return {"rows": rows, "z_difference_after_3_steps": differences}


def compare(theirs: Any, ours: Any) -> dict[str, Any]:
    """Return how far two `z` `(N, H, W, C)` differ, and whether they come from the same update."""
    import numpy as np

    largest = np.abs(theirs - ours).max((1, 2, 3))
    median, apart = float(np.median(largest)), float(np.mean(largest > _APART))
    return {
        "difference": {"max_in_median_image": median, "share_of_images_apart": apart},
        "same_update": median <= _TOLERANCE and apart <= _MOST_APART,
    }


def prepare(file: str) -> dict[str, Any]:
    """Write weights, start, targets and our z after three steps, for the peers to start from."""
    import numpy as np
    import tensorflow as tf

    loop, teacher = _loop(NUM_STARTS)
    # Noise everywhere: on the plain background of the canvas, max pooling would have to break ties.
    noise = np.random.default_rng(0).normal(size=loop.begin["z"].shape).astype(np.float32)
    loop.begin["z"] = tf.constant(noise)
    after = loop.run(CHECKED_STEPS)
    weights = {weight.path: weight.numpy() for weight in teacher.model.weights}
    target, after = loop.begin["target"].numpy(), after["z"].numpy()
    np.savez(file, start=noise, target=target, after=after, **weights)
    return {}


def ours(file: str) -> dict[str, Any]:
    """Rates of the compiled loop at the batch size that `generate` chooses."""
    import numpy as np
    import tensorflow as tf

    loop, _ = _loop(None)
    loop.begin["z"] = tf.constant(np.load(file)["start"][: loop.batch_size])
    found = harness.rates(lambda: loop.run(STEPS), STEPS * loop.batch_size)
    return {"rates": {f"batch {loop.batch_size}": found}}


def _loop(batch_size: int | None) -> Any:
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED, Loop, make_generator

    teacher = zskd.Teacher(SHIPPED, (0.0, 1.0))
    generator = make_generator(
        teacher,
        priors=(),
        transforms=(),
        temperature=TEMPERATURE,
        learning_rate=LEARNING_RATE,
        steps=STEPS,
    )
    return Loop(generator, batch_size), teacher
