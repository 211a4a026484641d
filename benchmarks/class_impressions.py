"""Image-steps per second of class impressions on LeNet-5, compared with two other implementations.

Ours: one-hot targets, total variation, jitter of 2 pixels. tf-keras-vis: `ActivationMaximization` with
its categorical score, its total variation and its jitter of 2 pixels, and defaults for everything
else. The plain loop: the same loss as ours, written with a Keras model, a gradient tape and a Keras
optimizer; run eagerly, and with its step in a `tf.function`.
"""

from typing import Any

from benchmarks import harness, table

_BATCH = 1000
_STEPS = 5
# tf-keras-vis gathers its scores image by image, so a larger batch is not necessarily faster.
_TF_KERAS_VIS_BATCHES = (100, 1000)
_PEERS = {
    "tf-keras-vis ActivationMaximization": ("tf_keras_vis", "25x"),
    "Keras loop in tf.function": ("in_graph", ""),
    "eager Keras loop": ("eager", "14x"),
}


def measure(repetitions: int = 3) -> dict[str, Any]:
    """Compare ours with each of the others."""
    sides: harness.Sides = {"ours": ("class_impressions:ours", {})}
    for name, (function, _) in _PEERS.items():
        sides[name] = (f"class_impressions:{function}", {})
    results = harness.alternate(sides, repetitions, optional=_PEERS)
    ours = table.fastest(results["ours"])
    what, unit = "class impressions, LeNet-5", "image-steps/s"
    return {
        "rows": [
            table.row(what, unit, ours, name, table.fastest(results[name]), goal)
            for name, (_, goal) in _PEERS.items()
        ]
    }


def ours() -> dict[str, Any]:
    """Rates of our compiled loop."""
    import keras_zskd as zskd
    from benchmarks.ours import SHIPPED, Loop, make_generator

    generator = make_generator(
        zskd.Teacher(SHIPPED, (0.0, 1.0)),
        targets=zskd.OneHotTargets(),
        priors=[zskd.TotalVariation()],
        transforms=[zskd.Jitter()],
    )
    loop = Loop(generator)
    found = harness.rates(lambda: loop.run(_STEPS), _STEPS * loop.batch_size)
    return {"rates": {f"batch {loop.batch_size}": found}}


def tf_keras_vis() -> dict[str, Any]:
    """Rates of `ActivationMaximization`, called as in its documentation."""
    import keras
    import numpy as np
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.input_modifiers import Jitter
    from tf_keras_vis.activation_maximization.regularizers import TotalVariation2D
    from tf_keras_vis.utils.scores import CategoricalScore

    from benchmarks.ours import SHIPPED

    maximize = ActivationMaximization(keras.saving.load_model(SHIPPED), clone=False)
    rates = {}
    for batch in _TF_KERAS_VIS_BATCHES:
        start = np.random.default_rng(0).random((batch, 32, 32, 1), np.float32)
        score = CategoricalScore([number % 10 for number in range(batch)])

        def go(start: Any = start, score: Any = score) -> None:
            maximize(
                score,
                seed_input=start,
                input_range=(0.0, 1.0),
                input_modifiers=[Jitter(2)],
                regularizers=[TotalVariation2D()],
                steps=_STEPS,
            )

        rates[f"batch {batch}"] = harness.rates(go, _STEPS * batch)
    return {"rates": rates}


def eager() -> dict[str, Any]:
    """Rates of the plain loop in eager mode."""
    return _keras_loop(is_function=False)


def in_graph() -> dict[str, Any]:
    """Rates of the plain loop with its step in a `tf.function`."""
    return _keras_loop(is_function=True)


def _keras_loop(is_function: bool) -> dict[str, Any]:
    import keras
    import numpy as np
    import tensorflow as tf

    from benchmarks.ours import SHIPPED

    model = keras.saving.load_model(SHIPPED)
    target = tf.one_hot(tf.range(_BATCH) % 10, 10)
    random = np.random.default_rng(0)
    z = tf.Variable(random.normal(size=(_BATCH, 32, 32, 1)), dtype=tf.float32)
    optimizer = keras.optimizers.Adam(0.4)
    optimizer.build([z])

    def step(shift: Any) -> None:
        with tf.GradientTape() as tape:
            pixels = tf.sigmoid(z)
            seen = tf.roll(pixels, shift, axis=[1, 2])
            logits = model(seen, training=False)
            loss = tf.nn.softmax_cross_entropy_with_logits(target, logits / 4.0)
            loss = tf.reduce_sum(loss + 2e-4 * tf.image.total_variation(pixels))
        optimizer.apply([tape.gradient(loss, z)], [z])

    step = tf.function(step) if is_function else step

    def go() -> None:
        for _ in range(_STEPS):
            step(tf.constant(random.integers(-2, 3, 2), tf.int32))

    return {"rates": {f"batch {_BATCH}": harness.rates(go, _STEPS * _BATCH)}}
