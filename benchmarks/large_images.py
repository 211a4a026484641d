"""Time and memory of class impressions at 224x224 for networks of `keras.applications`.

    python -m benchmarks.large_images [--networks=MobileNetV2,ResNet50] [--num_impressions=16]

The networks have 1,000 classes and random weights, since no pretrained ones are included: this
measures cost, not quality. Method `class_impressions` runs with preset "default", in a new process
for each network. Writes results/large_images.json and results/large_images.md.
"""

import sys
import tempfile
import time
from typing import Any

from absl import app, flags

from benchmarks import harness
from benchmarks.results_file import ResultsFile, Runs

_NETWORKS = flags.DEFINE_list("networks", ["MobileNetV2", "ResNet50"], "of keras.applications")
_COUNT = flags.DEFINE_integer("num_impressions", 16, "for each network", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "results/large_images.json", "the results file")


def main(argv: list[str]) -> None:
    """Run what is missing, then print the table."""
    del argv
    results = ResultsFile(_OUTPUT.value, "python -m benchmarks.large_images", _lines)
    for network in _NETWORKS.value:
        key = {"network": network, "num_impressions": _COUNT.value}
        if not results.has(key):
            results.add({**key, **harness.run("large_images:synthesize", 7200, **key)})
    results.show()


def synthesize(network: str, num_impressions: int) -> dict[str, Any]:
    """Synthesize class impressions of a network with random weights in this process."""
    import keras

    import keras_zskd as zskd
    from benchmarks.machine import peak_mib

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, network)(weights=None, classifier_activation=None)
    # Keras applications without built-in preprocessing expect pixels in [-1, 1].
    teacher = zskd.Teacher(model, (-1.0, 1.0))
    method = zskd.METHODS["class_impressions"]()
    generator = method.generator(teacher)
    logs: list[dict[str, float]] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, log: logs.append(dict(log)))
    before = peak_mib()
    with tempfile.TemporaryDirectory() as directory:
        begun = time.perf_counter()
        generator.generate(num_impressions, directory, callbacks=[watch], verbose=0)
        seconds = time.perf_counter() - begun
    return {
        "input_shape": list(teacher.input_shape),
        "parameters": teacher.num_parameters,
        "steps": method.synthesis_steps,
        "seconds": round(seconds, 1),
        "confidence": round(sum(log["confidence"] for log in logs) / len(logs), 3),
        "mib_before": before,
        "peak_mib": peak_mib(),
    }


def _lines(runs: Runs) -> list[str]:
    lines = [
        "| network | parameters | impressions | steps | seconds, compiling included "
        "| memory before, MiB | peak, MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in runs:
        size = "x".join(map(str, run["input_shape"]))
        lines.append(
            f"| {run['network']}, {size} | {run['parameters']:,} | {run['num_impressions']} "
            f"| {run['steps']} | {run['seconds']:.0f} | {run['mib_before']:,.0f} "
            f"| {run['peak_mib']:,.0f} |"
        )
    return lines


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
