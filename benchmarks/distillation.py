"""Images per second of distilling LeNet-5 into LeNet-5-Half, compared with what Keras offers.

All sides see the same 20,000 random images in batches of 256, with Adam and no callbacks. One epoch
warms up, and the next two are timed. Every side reads its images from arrays and from a
`tf.data.Dataset`, as is usual, and from `keras_zskd.inputs.batching`, with one and with eight steps
per call, as in `distill`.

The first rows compare like with like: the fastest input of every side with one step per call, then
with eight. The other rows compare our fastest input with the peer as in its documentation.

"Ours augmented" uses `RandomAffine` and `Mixup`, and runs the teacher inside the step. "Ours
cached" gets the teacher's logits with the images, without augmentation. `keras.distillation` runs
the teacher inside the step, without augmentation. The plain `fit` trains on cached logits.
"""

from collections.abc import Callable
from typing import Any

from benchmarks import harness, table

_COUNT, _BATCH, _TEMPERATURE = 20_000, 256, 20.0
_STEPS_AT_ONCE = 8
_AS_USUAL = ("arrays", "tf.data")
_DISTILLER = "keras.distillation.Distiller"
_FIT = "Model.fit on cached logits"
_PEERS = (_DISTILLER, _FIT)


def measure(repetitions: int = 3) -> dict[str, Any]:
    """Compare ours, augmented and cached, with both peers."""
    sides: harness.Sides = {
        "ours augmented": ("distillation:ours", {"augmented": True}),
        _DISTILLER: ("distillation:keras_distiller", {}),
        "ours cached": ("distillation:ours", {"augmented": False}),
        _FIT: ("distillation:plain_fit", {}),
    }
    results = harness.alternate(sides, repetitions, optional=_PEERS)
    goals = {("ours augmented", _DISTILLER): "1.5x", ("ours cached", _DISTILLER): "4x"}
    rows = []
    for name in ("ours augmented", "ours cached"):
        what = f"distillation, {name.removeprefix('ours ')}"
        for peer in _PEERS:
            for steps, is_meant in (
                ("both one step a call", _makes_one_step),
                (f"both {_STEPS_AT_ONCE} steps a call", _makes_many_steps),
            ):
                mine, theirs = (_fed(results[side], is_meant) for side in (name, peer))
                alike = f"{peer}, {steps}"
                rows.append(table.row(what, "images/s", mine, alike, theirs))
        for peer in _PEERS:
            usual = _fed(results[peer], _AS_USUAL.__contains__)
            goal = goals.get((name, peer), "")
            fastest = table.fastest(results[name])
            rows.append(table.row(what, "images/s", fastest, f"{peer}, as documented", usual, goal))
    return {"rows": rows}


def _makes_many_steps(feed: str) -> bool:
    return feed.endswith("steps a call")


def _makes_one_step(feed: str) -> bool:
    return not _makes_many_steps(feed)


def _fed(side: dict[str, Any], is_meant: Callable[[str], bool]) -> dict[str, Any]:
    """The fastest of some inputs of a side."""
    if "missing" in side:
        return table.fastest(side)
    return table.fastest({"rates": {k: v for k, v in side["rates"].items() if is_meant(k)}})


def ours(augmented: bool) -> dict[str, Any]:
    """Rates of `keras_zskd.Distiller`."""
    import keras

    import keras_zskd as zskd

    keras.utils.set_random_seed(0)
    teacher, images = zskd.Teacher(zskd.lenet5(), (0.0, 1.0)), _images()
    distiller = zskd.Distiller(
        teacher,
        zskd.lenet5_half(),
        temperature=_TEMPERATURE,
        augmentations=(zskd.RandomAffine(), zskd.Mixup()) if augmented else (),
    )
    distiller.compile(optimizer="adam")
    if augmented:
        return _rates(distiller, {"image": images})
    return _rates(distiller, {"image": images, "logits": _answers(teacher.model, images)})


def keras_distiller() -> dict[str, Any]:
    """Rates of `keras.distillation.Distiller`, which requires labels even if they are not used."""
    import keras
    import numpy as np

    import keras_zskd as zskd

    keras.utils.set_random_seed(0)
    # The default loss, given as a string, would not soften the predictions by the temperature.
    loss = keras.distillation.LogitsDistillation(_TEMPERATURE, keras.losses.KLDivergence())
    distiller = keras.distillation.Distiller(
        zskd.lenet5(), zskd.lenet5_half(), loss, student_loss_weight=0.0
    )
    distiller.compile(
        optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return _rates(distiller, _images(), np.zeros(_COUNT, np.int32))


def plain_fit() -> dict[str, Any]:
    """Rates of a student that is trained on cached logits with a loss function of two lines."""
    import keras
    import tensorflow as tf

    import keras_zskd as zskd

    def loss(teacher: Any, student: Any) -> Any:
        teacher, student = (tf.nn.log_softmax(x / _TEMPERATURE) for x in (teacher, student))
        return _TEMPERATURE**2 * tf.reduce_sum(tf.exp(teacher) * (teacher - student), axis=-1)

    keras.utils.set_random_seed(0)
    student, images = zskd.lenet5_half(), _images()
    student.compile(optimizer="adam", loss=loss)
    return _rates(student, images, _answers(zskd.lenet5(), images))


def _images() -> Any:
    import numpy as np

    return np.random.default_rng(0).random((_COUNT, 32, 32, 1), np.float32)


def _answers(model: Any, images: Any) -> Any:
    return model.predict(images, batch_size=1000, verbose=0)


def _rates(model: Any, x: Any, y: Any = None) -> dict[str, Any]:
    """Images per second of epochs of `fit`, with several kinds of input."""
    import tensorflow as tf

    from keras_zskd.inputs.batching import batches

    given = x if y is None else (x, y)
    data = tf.data.Dataset.from_tensor_slices(given)
    data = data.shuffle(_COUNT).batch(_BATCH).prefetch(tf.data.AUTOTUNE)
    whole = batches(given, _BATCH, seed=0)
    feeds = {
        "arrays": lambda: model.fit(x, y, batch_size=_BATCH, epochs=1, verbose=0),
        "tf.data": lambda: model.fit(data, epochs=1, shuffle=False, verbose=0),
        "batches": lambda: model.fit(whole, epochs=1, shuffle=False, verbose=0),
    }
    rates = {name: harness.rates(go, _COUNT, seconds=0) for name, go in feeds.items()}
    model.steps_per_execution = _STEPS_AT_ONCE
    model.make_train_function(force=True)
    rates[f"batches, {_STEPS_AT_ONCE} steps a call"] = harness.rates(
        feeds["batches"], _COUNT, seconds=0
    )
    return {"rates": rates}
