"""Where the time of a step goes, by TensorFlow's profiler; it explains the other measures.

Compares the milliseconds of a step in matrix products and convolutions with those of the whole
step. The other operations that take long are in results/bench.json by name. Steps are a little
slower under the profiler. For a step that XLA compiled, the names are those of XLA's loops and
products. Operations that run at the same time are counted in full.
"""

import collections
import glob
import re
import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks import harness, table

_STEPS, _NAMED = 20, 16
_BATCH, _COUNT = 256, 5_120
# Matrix products of XLA, or TensorFlow operations, whose kind follows their name.
_IS_ARITHMETIC = re.compile(r"^(MatMul|dot|ynn_fusion)[._\d]*$|:\w*(Conv2D|MatMul)\w*$")
# Events that only enclose other events.
_IS_FRAME = re.compile(
    r"Execut|Eager|inference_|Iterator|TFE_|tf\.|BlockUntilReady|^advance$|Run|Session|Process|"
    r"Await|multi_step|Callback|Produce|^while\.\d+$|:(While|XlaLaunch|PartitionedCall)"
)


def measure() -> dict[str, Any]:
    """Profile synthesis on LeNet-5, AlexNet and ResNet-18, and the training of LeNet-5-Half."""
    sides: dict[str, tuple[str, dict[str, Any]]] = {
        "synthesis, LeNet-5": ("lenet5", {}),
        "training, LeNet-5-Half, cached": ("training", {}),
        "synthesis, alexnet, float32": ("wide", {"network": "alexnet"}),
        "synthesis, resnet18, float32": ("wide", {"network": "resnet18"}),
    }
    rows, steps = [], {}
    for name, (function, arguments) in sides.items():
        print(f"    {name}", flush=True)
        found = steps[name] = harness.run(f"step_profile:{function}", **arguments)
        arithmetic, whole = ({"median": found[key]} for key in ("arithmetic_ms", "step_ms"))
        what = f"{name}: products and convolutions"
        rows.append(table.row(what, "ms", arithmetic, "whole step", whole))
    return {"rows": rows, "steps": steps}


def lenet5() -> dict[str, Any]:
    """The step of `synthesis_lenet5`."""
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED, Loop, make_generator
    from keras_zskd.models.arithmetic import forward_flops

    teacher = zskd.Teacher(SHIPPED, (0.0, 1.0))
    loop = Loop(make_generator(teacher, priors=(), transforms=(), steps=_STEPS))
    found = _profile(lambda: loop.run(_STEPS), _STEPS)
    plain = 2 * forward_flops(teacher.model) * loop.batch_size / 1e9
    # The gradient with respect to the input costs as much as the forward pass, also on blocks.
    blocked = plain + 2 * _extra_flops(loop.plan) * loop.batch_size / 1e9
    rate = blocked / found["arithmetic_ms"] * 1e3
    return {**found, "gflop": plain, "gflop_on_blocks": blocked, "gflops_in_products": rate}


def training() -> dict[str, Any]:
    """The step of `distillation` with cached logits."""
    import numpy as np

    import keras_zskd as zskd
    from keras_zskd.inputs.batching import batches

    random = np.random.default_rng(0)
    images = random.random((_COUNT, 32, 32, 1), np.float32)
    logits = random.normal(size=(_COUNT, 10)).astype(np.float32)
    distiller = zskd.Distiller(zskd.Teacher(zskd.lenet5(), (0.0, 1.0)), zskd.lenet5_half())
    distiller.compile(optimizer="adam", steps_per_execution=8)
    data = batches({"image": images, "logits": logits}, _BATCH, seed=0)
    return _profile(lambda: distiller.fit(data, epochs=1, verbose=0), _COUNT // _BATCH)


def wide(network: str) -> dict[str, Any]:
    """The float32 step of `ceiling_share`."""
    from benchmarks.ours import Loop, make_generator, wide_teacher

    loop = Loop(make_generator(wide_teacher(network)))
    return _profile(lambda: loop.run(3), 3)


def _extra_flops(plan: Any) -> float:
    """Operations of an image's forward pass that multiply by zero, due to blocks of pixels."""
    from keras_zskd.models.arithmetic import flops_of_call

    return sum(
        flops_of_call(node) * (plan.convolutions[id(node)].waste - 1.0)
        for node in plan.nodes
        if plan.convolutions.get(id(node)) is not None
    )


def _profile(run: Callable[[], Any], steps: int) -> dict[str, Any]:
    """Milliseconds of a step of `run`: in total, in arithmetic, and by name."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()  # Compiles.
    run()
    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)
    with tempfile.TemporaryDirectory() as directory:
        tf.profiler.experimental.start(directory, options=options)
        begun = time.perf_counter()
        run()
        seconds = time.perf_counter() - begun
        tf.profiler.experimental.stop()
        (file,) = glob.glob(f"{directory}/**/*.xplane.pb", recursive=True)
        space = xplane_pb2.XSpace()
        with open(file, "rb") as stored:
            space.ParseFromString(stored.read())
    spent: collections.Counter[str] = collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                spent[name] += event.duration_ps / 1e9 / steps
    arithmetic = sum(ms for name, ms in spent.items() if _IS_ARITHMETIC.search(name))
    longest = [(name, ms) for name, ms in spent.most_common() if not _IS_FRAME.search(name)]
    return {
        "step_ms": 1e3 * seconds / steps,
        "arithmetic_ms": arithmetic,
        "longest_ms": {name: round(ms, 3) for name, ms in longest[:_NAMED]},
    }
