"""A small run with report and logs, and a headless browser."""

import shutil
import subprocess
import warnings

import keras
import pytest

from keras_zskd.evaluation import callbacks
from keras_zskd.evaluation.report.page import write_report
from keras_zskd.evaluation.report.synthesis_sections import impression_sections
from keras_zskd.impressions.generator import ImpressionGenerator
from keras_zskd.models.teacher import Teacher

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def dump_dom(tmp_path):
    """A function from an address to the DOM of the page and the console messages."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(_BROWSERS)} is installed")

    def dump(address, *options):
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
                "--no-first-run", "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--disable-dev-shm-usage", "--enable-logging=stderr",
                f"--user-data-dir={tmp_path / 'browser'}", *options, "--dump-dom", address,
            ],
            capture_output=True, text=True, timeout=180,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return done.stdout, complaints

    return dump


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory):
    """report.html and logs/ of a synthesis of 12 tiny impressions."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)], name="tiny"
    )
    teacher = Teacher(model, (0, 1))
    directory = tmp_path_factory.mktemp("run")
    with warnings.catch_warnings():
        # The tests of the transfer set cover the warnings of TFDS.
        warnings.simplefilter("ignore")
        impressions = ImpressionGenerator(teacher, steps=8).generate(
            12, directory / "impressions", batch_size=6, verbose=0,
            callbacks=callbacks.for_synthesis(directory / "logs"),
        )  # fmt: skip
        arrays = impressions.arrays()
    run = {
        "request": {"method": {"name": "zskd"}, "teacher": teacher.describe()},
        "stages": {
            "training": {
                "kind": "training",
                "history": {"loss": [3.0, 2.0], "held_out_agreement": [0.5, 0.75]},
            }
        },
        "results": {
            "measured_on": "nothing",
            "rows": [{"model": "teacher", "agreement": 1.0, "parameters": 260, "bytes": 1234}],
        },
    }
    sections = impression_sections(arrays, (0.0, 1.0), 2.0, {"teacher": model})
    write_report(directory / "report.html", run, sections)
    return directory
