"""examples/browser: the page predicts a digit that is drawn on its canvas."""

import functools
import http.server
import re
import threading
from pathlib import Path

import keras
import pytest

import keras_zskd as zskd

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "browser"
TEACHER = ROOT / "keras_zskd" / "assets" / "lenet5_mnist.keras"
# A seven, as a finger would draw it.
_SEVEN = """pen.beginPath(); pen.moveTo(9, 8); pen.lineTo(23, 8); pen.lineTo(14, 26); pen.stroke();
  await show();
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def site(tmp_path):
    """The address of the page with a file of the included teacher, and with a drawing."""
    if not (EXAMPLE / "node_modules").is_dir():
        pytest.skip("LiteRT.js is missing: npm install @litertjs/core in examples/browser")
    site = tmp_path / "site"
    site.mkdir()
    (site / "node_modules").symlink_to(EXAMPLE / "node_modules")
    page = (EXAMPLE / "index.html").read_text("utf-8")
    assert page.count("</script>\n</html>") == 1
    drawn = page.replace("</script>\n</html>", f"{_SEVEN}\n</html>")
    (site / "index.html").write_text(drawn, "utf-8")
    zskd.export(keras.models.load_model(TEACHER), site / "student.tflite")
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def test_a_drawn_digit_is_predicted(site, dump_dom):
    dom, _ = dump_dom(site, "--virtual-time-budget=30000")
    shares = re.findall(r"<div>(\d) <meter.*?</meter> (\d+) %</div>", dom)
    assert [int(digit) for digit, _ in shares] == list(range(10))
    assert max(shares, key=lambda share: int(share[1]))[0] == "7"
