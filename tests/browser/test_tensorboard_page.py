import json
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def tensorboard(run_directory, tmp_path):
    """The address of a TensorBoard that serves the logs of the run."""
    log = tmp_path / "tensorboard.log"
    command = [
        sys.executable, "-m", "tensorboard.main", "--logdir", str(run_directory / "logs"),
        "--host", "127.0.0.1", "--port", "0", "--load_fast", "false",
    ]  # fmt: skip
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 120
        while not (found := re.search(r"at (http://127\.0\.0\.1:\d+)/", log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.2)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(timeout=30)


def get(address, path, **query):
    url = f"{address}/data/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def test_tensorboard_shows_the_run(tensorboard, dump_dom):
    dom, _ = dump_dom(f"{tensorboard}/#timeseries", "--virtual-time-budget=20000")
    for run in ("impressions", "target_confidence", "class_balance"):
        assert run in dom
    tags = json.loads(get(tensorboard, "plugin/images/tags"))
    assert set(tags["impressions"]) == {"impressions/forming", "impressions/finished"}
    pictures = json.loads(
        get(tensorboard, "plugin/images/images", run="impressions", tag="impressions/finished",
            sample=0)
    )  # fmt: skip
    assert [picture["step"] for picture in pictures] == [0, 1]
    picture = get(tensorboard, f"plugin/images/individualImage?{pictures[0]['query']}&x=")
    assert picture.startswith(b"\x89PNG")
