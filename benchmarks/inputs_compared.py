"""One student for each kind of training inputs: noise, pictures, impressions, real images.

    python -m benchmarks.inputs_compared [--steps=600] [--impressions=4000] [--seeds=0]

Teacher: the LeNet-5 that ships with the package (MNIST). Student: LeNet-5-Half, 35,820 parameters, from
random weights. Everything except the inputs is the same: labels from the teacher, temperature 4,
random affine maps, Adam with a cosine decay. Real images are the training split of MNIST, without
its labels. The test split is only used for evaluation. Writes results/inputs_compared.json and .md
after every student.
"""

import importlib.resources
import sys
import tempfile
from typing import Any

from absl import app, flags

from benchmarks import harness, table
from benchmarks.results_file import ResultsFile, Runs

_INPUTS = ("noise", "pictures", "impressions", "real images")
_BATCH = 128
_STEPS = flags.DEFINE_integer("steps", 600, "training steps of 128 inputs")
_IMPRESSIONS = flags.DEFINE_integer("impressions", 4_000, "impressions of method zskd")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "one student for each")
_OUTPUT = flags.DEFINE_string("output", "results/inputs_compared.json", "the results file")


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.inputs_compared", _lines)
    for seed in map(int, _SEEDS.value):
        for inputs in _INPUTS:
            key = {"inputs": inputs, "seed": seed, "steps": _STEPS.value}
            key |= {"impressions": _IMPRESSIONS.value} if inputs == "impressions" else {}
            if not results.has(key):
                results.add({**key, **harness.run("inputs_compared:student", 3600, **key)})
    results.show()


def student(inputs: str, seed: int, steps: int, impressions: int = 0) -> dict[str, Any]:
    """Train one student in this process, and evaluate it on the test split."""
    import keras

    import keras_zskd as zskd
    from keras_zskd.inputs import datasets

    path = importlib.resources.files("keras_zskd") / "assets" / "lenet5_mnist.keras"
    teacher = zskd.Teacher(str(path), (0.0, 1.0))
    keras.utils.set_random_seed(seed)
    model = zskd.lenet5_half()
    source = _source(inputs, teacher, seed, impressions)
    distiller = zskd.Distiller(
        teacher, model, temperature=4.0, augmentations=[zskd.RandomAffine()], seed=seed
    )
    decay = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    distiller.compile(keras.optimizers.Adam(decay))
    distiller.fit(source.stream(_BATCH, seed), steps_per_epoch=steps, epochs=1, verbose=0)
    images, labels = datasets.load("mnist", "test", teacher.input_shape, teacher.input_range)
    found = zskd.evaluate(teacher, model, images, labels)
    names = ("teacher_accuracy", "student_accuracy", "agreement")
    return {name: round(100 * found[name], 2) for name in names}


def _source(inputs: str, teacher: Any, seed: int, impressions: int) -> Any:
    import keras_zskd as zskd
    from keras_zskd.inputs import datasets

    shape, (low, high) = teacher.input_shape, teacher.input_range
    if inputs == "noise":
        return zskd.Noise(shape, (low + high) / 2, (high - low) / 4)
    if inputs == "pictures":
        return zskd.ProceduralPictures(shape, teacher.input_range)
    if inputs == "impressions":
        generator = zskd.METHODS["zskd"]().generator(teacher)
        with tempfile.TemporaryDirectory() as directory:
            made = generator.generate(impressions, directory, seed=seed, verbose=0)
            return zskd.Arrays({"image": made.arrays()["image"]})
    return zskd.Arrays({"image": datasets.load("mnist", "train", shape, (low, high))[0]})


def _lines(runs: Runs) -> list[str]:
    lines = [
        "MNIST, LeNet-5 to LeNet-5-Half from random weights; percent on the test split.\n",
        "| trained on | steps | teacher | student | agreement with the teacher | seeds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for inputs in dict.fromkeys(run["inputs"] for run in runs):
        mine = [run for run in runs if run["inputs"] == inputs]
        name = inputs
        if inputs == "impressions":
            name = f"{mine[0]['impressions']:,} impressions"
        accuracy, agreement = (
            table.spread([run[key] for run in mine]) for key in ("student_accuracy", "agreement")
        )
        lines.append(
            f"| {name} | {mine[0]['steps']:,} | {mine[0]['teacher_accuracy']:.2f} | {accuracy} "
            f"| {agreement} | {', '.join(str(run['seed']) for run in mine)} |"
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
