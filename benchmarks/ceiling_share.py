"""The share of the machine's peak arithmetic that synthesis reaches on AlexNet and ResNet-18.

The ceiling is the best rate of a 2048 x 2048 x 2048 matrix product in TensorFlow. An image-step of
the synthesis counts as twice the forward operations of convolutions and dense layers: the forward
pass, and the gradient with respect to the input. Poolings, normalization, priors and Adam are not
counted, but take time. The generator has its default settings; the networks have random weights.
"""

from typing import Any

from benchmarks import harness, table

_SIZE = 2048
_NETWORKS = ("alexnet", "resnet18")
_PRECISIONS = ("float32", "bfloat16")


def measure(repetitions: int = 2) -> dict[str, Any]:
    """Compare synthesis with the ceiling, and bfloat16 with float32."""
    sides: harness.Sides = {}
    for precision in _PRECISIONS:
        sides[f"matmul {precision}"] = ("ceiling_share:matmul", {"precision": precision})
        for network in _NETWORKS:
            arguments = {"network": network, "precision": precision}
            sides[f"{network} {precision}"] = ("ceiling_share:synthesis", arguments)
    results = harness.alternate(sides, repetitions)
    found = {name: table.fastest(result) for name, result in results.items()}
    # The ceiling is the best rate that was measured, not the typical one.
    for precision in _PRECISIONS:
        ceiling = found[f"matmul {precision}"]
        ceiling["median"] = ceiling["best"]
    rows = []
    for network in _NETWORKS:
        ours = {precision: found[f"{network} {precision}"] for precision in _PRECISIONS}
        what = f"synthesis, {network}"
        goals = {"float32": "0.60x", "bfloat16": ""}
        for precision, goal in goals.items():
            ceiling = found[f"matmul {precision}"]
            name = f"matmul ceiling {precision}"
            rows.append(
                table.row(f"{what}, {precision}", "GFLOP/s", ours[precision], name, ceiling, goal)
            )
        name = "ours, float32"
        rows.append(
            table.row(
                f"{what}, bfloat16", "GFLOP/s", ours["bfloat16"], name, ours["float32"], "1.7x"
            )
        )
    facts = {name: result for name, result in results.items() if "image_steps_per_second" in result}
    return {"rows": rows, "networks": facts}


def matmul(precision: str) -> dict[str, Any]:
    """GFLOP/s of the matrix product."""
    import tensorflow as tf

    a = tf.cast(tf.random.normal((_SIZE, _SIZE)), precision)
    b = tf.cast(tf.random.normal((_SIZE, _SIZE)), precision)
    product = tf.function(tf.matmul)
    found = harness.rates(lambda: product(a, b), 2 * _SIZE**3 / 1e9)
    return {"rates": {"": found}}


def synthesis(network: str, precision: str) -> dict[str, Any]:
    """GFLOP/s of the compiled loop at the batch size that `generate` chooses."""
    from benchmarks.ours import Loop, MissingFeatureError, make_generator, wide_teacher
    from keras_zskd.models.arithmetic import forward_flops

    teacher = wide_teacher(network)
    try:
        generator = make_generator(teacher, precision=precision)
    except MissingFeatureError as missing:
        return {"missing": str(missing)}
    loop = Loop(generator)
    work = 2 * forward_flops(teacher.model) * loop.batch_size / 1e9
    found = harness.rates(lambda: loop.run(1), work)
    return {
        "rates": {f"batch {loop.batch_size}": found},
        "gflop_per_image_step": work / loop.batch_size,
        "image_steps_per_second": max(found) / work * loop.batch_size,
    }
