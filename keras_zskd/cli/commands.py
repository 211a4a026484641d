"""The commands: for each a job, a line of help, and how its result is shown."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras_zskd.core.tables import pairs_table, run_summary
from keras_zskd.jobs.demonstrating import demonstrate
from keras_zskd.jobs.distilling import Distilled, distill
from keras_zskd.jobs.estimating import estimate
from keras_zskd.jobs.exporting import export_file
from keras_zskd.jobs.inspecting import inspect, methods
from keras_zskd.jobs.measuring import measure
from keras_zskd.jobs.synthesizing import synthesize
from keras_zskd.jobs.training import train


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        job: The function that does the work.
        summary: A line for `keras-zskd help`.
        show: From the job's result to what is printed last.
        as_json: From the job's result to what `--json` writes.
        note: Printed first.
        rehearsal: What `--dry_run` does instead, with the arguments that it takes.
    """

    job: Callable[..., Any]
    summary: str
    show: Callable[[Any], str] = pairs_table
    as_json: Callable[[Any], Any] = dict
    note: str = ""
    rehearsal: Callable[..., Any] | None = None


def _show_run(done: Distilled) -> str:
    return run_summary(done.record, str(done.directory))


def _record(done: Distilled) -> dict[str, Any]:
    return done.record


def _show_methods(found: dict[str, dict[str, str]]) -> str:
    lines = []
    for name, facts in found.items():
        lines.append(f"{name}: {facts['gives']}")
        lines += [f"  {key:<10} {value}" for key, value in facts.items() if key != "gives"]
    return "\n".join(lines)


COMMANDS = {
    "demo": Command(
        demonstrate,
        "the main job on the teacher that ships with the package",
        _show_run,
        _record,
        "The teacher: LeNet-5, trained on MNIST, shipped with this package. Its training data is not "
        "here; the student learns from impressions of the teacher alone.\n"
        "5,000 real digits that neither has seen are used afterwards, to measure.",
    ),
    "distill": Command(
        distill, "teacher in, deployable student out", _show_run, _record, rehearsal=estimate
    ),
    "synthesize": Command(synthesize, "make impressions"),
    "evaluate": Command(measure, "measure a student against its teacher"),
    "export": Command(export_file, "write a model as a file that deploys"),
    "inspect": Command(inspect, "what a teacher is, and what can be done with it"),
    "methods": Command(methods, "every method: needs, gives, where it comes from", _show_methods),
    "train": Command(train, "train a teacher, or a student from scratch"),
}
