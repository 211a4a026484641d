"""Peak memory of synthesis against the number of impressions.

    python -m benchmarks.memory [--counts=5000,50000] [--steps=2]

Each count is synthesised in a process of its own, from the teacher that ships with the package, and
its peak resident memory is read when it ends. The number of steps changes time, not memory. Writes
results/memory.json.
"""

import json
import multiprocessing
import pathlib
import resource
import sys
import tempfile

from absl import app, flags

_COUNTS = flags.DEFINE_list("counts", ["5000", "50000"], "numbers of impressions")
_STEPS = flags.DEFINE_integer("steps", 2, "steps per impression")
_OUTPUT = flags.DEFINE_string("output", "results/memory.json", "the results file")


def main(argv: list[str]) -> None:
    """Measure, write, print."""
    del argv
    peaks = {}
    for count in _COUNTS.value:
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=_synthesize, args=(int(count), _STEPS.value, queue))
        process.start()
        peaks[count] = queue.get()
        process.join()
    result = {
        "command": "python -m benchmarks.memory",
        "steps": _STEPS.value,
        "peak_mib": peaks,
        "difference_mib": round(max(peaks.values()) - min(peaks.values()), 1),
    }
    output = pathlib.Path(_OUTPUT.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def _synthesize(count: int, steps: int, queue: multiprocessing.Queue) -> None:
    import keras_zskd as zskd

    asset = pathlib.Path(zskd.__file__).parent / "assets" / "lenet5_mnist.keras"
    generator = zskd.ImpressionGenerator(zskd.Teacher(asset, (0.0, 1.0)), steps=steps)
    with tempfile.TemporaryDirectory() as directory:
        generator.generate(count, directory, verbose=0)
    queue.put(round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1))


if __name__ == "__main__":
    app.run(main, argv=sys.argv)
